//! The conformance suite against SQLite over a disk that fails, fills up and loses power: what cannot be had
//! from a library alone.

use std::process::ExitCode;

use keyway_conformance::Subject;
use keyway_faults::{Offered, store};
use keyway_loader::Plugin;
use serde_json::json;

fn sqlite() -> Result<Subject, String> {
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_sqlite_backend::Sqlite>());
    let plugin = plugin.map_err(|error| error.to_string())?;
    let subject = Subject::new(plugin, json!({ "path": store::FILE }));
    Ok(Subject { faults: Some(Offered::in_directory), ..subject })
}

fn main() -> ExitCode {
    keyway_conformance::main(&[("sqlite-over-faults", sqlite)])
}
