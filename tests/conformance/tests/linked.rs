//! The suite linked into a test program, as an author has it. SQLite's is in `tests/faults`, over a disk that
//! can fail.

use std::process::ExitCode;

use keyway_conformance::Subject;
use keyway_loader::Plugin;
use serde_json::json;

fn memory() -> Result<Subject, String> {
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_memory_backend::Memory>());
    Ok(Subject::new(plugin.map_err(|error| error.to_string())?, json!({})))
}

fn main() -> ExitCode {
    keyway_conformance::main(&[("memory-linked", memory)])
}
