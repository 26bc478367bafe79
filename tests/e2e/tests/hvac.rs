//! hvac, the Python client, and node-vault, the JavaScript client, as judges of the protocol.
#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what it skips, and fails by panicking"
)]

use std::{env, ffi::OsString, process::Command};

use keyway_e2e::{Site, config};

#[test]
fn hvac_lives_through_a_cluster() {
    run("kv.py", false);
}

#[test]
fn hvac_makes_every_call_of_kv_version_2() {
    run("kv2.py", true);
}

#[test]
fn hvac_makes_every_call_of_the_system() {
    run("system.py", true);
}

#[test]
fn hvac_makes_every_call_of_tokens_and_approle() {
    run("auth.py", true);
}

#[test]
fn hvac_makes_every_call_of_the_audit() {
    run_with("audit.py", true, "[audit]\napi = true\n");
}

fn run(script: &str, unsealed: bool) {
    run_with(script, unsealed, "");
}

/// Runs a script against both backends, with these sections of the configuration. Its arguments are the
/// address of a server and, if that is unsealed, a root token.
fn run_with(script: &str, unsealed: bool, sections: &str) {
    let Some(python) = prepared("KEYWAY_TEST_PYTHON", "an environment with hvac") else { return };
    for plugin in ["memory", "sqlite"] {
        let site = Site::new(plugin);
        site.configure(&format!("{}\n{sections}", config(plugin)));
        let server = site.start();
        let mut command = Command::new(&python);
        command.arg(format!("{}/python/{script}", env!("CARGO_MANIFEST_DIR"))).arg(&server.address);
        if unsealed {
            command.arg(server.init_and_unseal().root_token);
        }
        is_content(&mut command, "hvac is content", plugin);
    }
}

#[test]
fn node_vault_lives_through_a_cluster_and_makes_every_call() {
    let Some(packages) = prepared("KEYWAY_TEST_NODE_PATH", "a directory with node-vault") else { return };
    for plugin in ["memory", "sqlite"] {
        let site = Site::new(plugin);
        site.configure(&format!("{}\n[audit]\napi = true\n", config(plugin)));
        let server = site.start();
        let logs = tempfile::tempdir().unwrap();
        let mut command = Command::new("node");
        command.env("NODE_PATH", &packages).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/node/vault.js"));
        command.arg(&server.address).arg(logs.path());
        is_content(&mut command, "node-vault is content", plugin);
    }
}

/// What `cargo xtask test` has prepared and names in this variable; none, with a visible line, on a machine
/// that may do without.
fn prepared(variable: &str, what: &str) -> Option<OsString> {
    let value = env::var_os(variable);
    if value.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "{variable} is not set; run `cargo xtask test`");
        eprintln!("SKIPPED: {variable} is not set; `cargo xtask test` makes {what}");
    }
    value
}

fn is_content(command: &mut Command, last: &str, plugin: &str) {
    let output = command.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{plugin}:\n{said}");
    assert!(said.contains(last), "{plugin}:\n{said}");
}
