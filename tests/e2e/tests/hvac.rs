//! hvac, the Python client, as one of the judges of the protocol.

use std::{env, process::Command};

use keyway_e2e::Site;

#[test]
fn hvac_initialises_unseals_writes_reads_lists_and_deletes() {
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
        let server = site.start();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/kv.py");
        let output = Command::new(&python).arg(script).arg(&server.address).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{plugin}:\n{said}");
        assert!(said.contains("hvac is content"), "{plugin}:\n{said}");
    }
}
