//! `cargo xtask bench`: measurements, each against a baseline in the same run.

use anyhow::Result;

use crate::process::{cargo, run};

pub(crate) fn bench(names: &[&str]) -> Result<()> {
    // The libraries that are measured are built as they ship.
    run(&mut cargo(&[
        "build",
        "--release",
        "-p",
        "keyway",
        "-p",
        "keyway-memory-plugin",
        "-p",
        "keyway-sqlite-plugin",
        "-p",
        "keyway-postgres-plugin",
    ]))?;
    let mut command = cargo(&["run", "--release", "-p", "keyway-bench", "--"]);
    command.args(names);
    run(&mut command)
}
