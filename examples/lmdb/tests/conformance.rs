//! The conformance suite: what the backend promises, it keeps. `cargo test --test conformance -- --help` lists options.

use std::process::ExitCode;

use keyway_conformance::Subject;
use keyway_loader::Plugin;
use serde_json::json;

fn subject() -> Result<Subject, String> {
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_lmdb_example::Exported>());
    Ok(Subject::new(plugin.map_err(|error| error.to_string())?, json!({})))
}

fn main() -> ExitCode {
    keyway_conformance::main(&[(env!("CARGO_PKG_NAME"), subject)])
}
