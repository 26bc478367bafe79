//! The suite against the official backends, linked into this program.

use std::process::ExitCode;

use keyway_conformance::Subject;
use keyway_loader::Plugin;
use serde_json::json;

fn memory() -> Result<Subject, String> {
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_memory_backend::Memory>());
    Ok(Subject::new(plugin.map_err(|error| error.to_string())?, json!({})))
}

fn sqlite() -> Result<Subject, String> {
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_sqlite_backend::Sqlite>());
    Ok(Subject::new(plugin.map_err(|error| error.to_string())?, json!({ "path": "k.db" })))
}

fn main() -> ExitCode {
    keyway_conformance::main(&[("memory", memory), ("sqlite", sqlite)])
}
