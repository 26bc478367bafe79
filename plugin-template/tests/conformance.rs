//! The conformance suite: what the backend promises, it keeps. `cargo test --test conformance -- --help` lists options.

{% if store == "network" -%}
use std::{env, process::ExitCode};
{%- else -%}
use std::process::ExitCode;
{%- endif %}

use keyway_conformance::Subject;
use keyway_loader::Plugin;
use serde_json::json;
{% if store == "network" %}
#[path = "common/fake_server.rs"]
mod fake_server;

/// Where the server of this run is.
const ADDRESS: &str = "FAKE_SERVER_ADDRESS";
{% endif %}
fn subject() -> Result<Subject, String> {
    let plugin = Plugin::linked(keyway_sdk::linked::<keyway_{{crate_name}}::Exported>());
{%- if store == "network" %}
    let address = env::var(ADDRESS).map_err(|error| format!("{ADDRESS}: {error}"))?;
    Ok(Subject::new(plugin.map_err(|error| error.to_string())?, json!({ "address": address })))
{%- else %}
    Ok(Subject::new(plugin.map_err(|error| error.to_string())?, json!({})))
{%- endif %}
}

fn main() -> ExitCode {
{%- if store == "network" %}
    if env::var_os(ADDRESS).is_none() {
        return with_server().unwrap_or(ExitCode::FAILURE);
    }
{%- endif %}
    keyway_conformance::main(&[(env!("CARGO_PKG_NAME"), subject)])
}
{%- if store == "network" %}

/// Runs this program again, while this process serves: the suite starts and kills other processes.
fn with_server() -> std::io::Result<ExitCode> {
    let address = fake_server::serve("127.0.0.1:0")?;
    let mut again = std::process::Command::new(env::current_exe()?);
    let status = again.args(env::args_os().skip(1)).env(ADDRESS, address.to_string()).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
{%- endif %}
