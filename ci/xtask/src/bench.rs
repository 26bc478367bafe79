//! `cargo xtask bench`: measurements, each against a baseline in the same run.

use anyhow::Result;

use crate::process::{cargo, run};

pub(crate) fn bench(names: &[&str]) -> Result<()> {
    // The library that the boundary is measured through is built as it ships.
    run(&mut cargo(&["build", "--release", "-p", "keyway-memory-plugin"]))?;
    let mut command = cargo(&["run", "--release", "-p", "keyway-bench", "--"]);
    command.args(names);
    run(&mut command)
}
