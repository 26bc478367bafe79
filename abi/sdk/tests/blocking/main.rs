//! A backend with blocking methods keeps every promise of the suite.

mod store;

use std::process::ExitCode;

use keyway_conformance::Subject;
use keyway_loader::Plugin;
use keyway_sdk::Blocking;
use serde_json::json;

fn shelf() -> Result<Subject, String> {
    let plugin = Plugin::linked(keyway_sdk::linked::<Blocking<store::Shelf>>());
    Ok(Subject::new(plugin.map_err(|error| error.to_string())?, json!({})))
}

fn main() -> ExitCode {
    keyway_conformance::main(&[("blocking", shelf)])
}
