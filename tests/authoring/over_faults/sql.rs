//! A generated backend over SQLite, over a disk that fails, fills up and loses power: what no library can show alone.

use std::process::ExitCode;

use keyway_conformance::Subject;
use keyway_faults::Offered;
use keyway_loader::Plugin;
use serde_json::json;

fn subject() -> Result<Subject, String> {
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_sql_over_faults::Exported>());
    let subject = Subject::new(plugin.map_err(|error| error.to_string())?, json!({}));
    Ok(Subject { faults: Some(Offered::in_directory), ..subject })
}

fn main() -> ExitCode {
    let cases = ["durable_", "health_", "store_that_is_"];
    keyway_conformance::main_for(&[("sql-over-faults", subject)], &cases)
}
