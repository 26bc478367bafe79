//! hvac, the Python client, as one of the judges of the protocol.
#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what it skips, and fails by panicking"
)]

use std::{env, process::Command};

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

/// Runs a script against both backends, with these sections of the configuration, with the address of a server and, where it is unsealed, a root token.
fn run_with(script: &str, unsealed: bool, sections: &str) {
    let Some(python) = env::var_os("KEYWAY_TEST_PYTHON") else {
        assert!(
            env::var("CI").as_deref() != Ok("true"),
            "KEYWAY_TEST_PYTHON is not set; run `cargo xtask test`"
        );
        eprintln!(
            "SKIPPED: KEYWAY_TEST_PYTHON is not set; `cargo xtask test` makes an environment with hvac"
        );
        return;
    };
    for plugin in ["memory", "sqlite"] {
        let site = Site::new(plugin);
        site.configure(&format!("{}\n{sections}", config(plugin)));
        let server = site.start();
        let mut command = Command::new(&python);
        command.arg(format!("{}/python/{script}", env!("CARGO_MANIFEST_DIR"))).arg(&server.address);
        if unsealed {
            command.arg(server.init_and_unseal().root_token);
        }
        let output = command.output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{plugin}:\n{said}");
        assert!(said.contains("hvac is content"), "{plugin}:\n{said}");
    }
}
