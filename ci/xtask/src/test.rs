//! `cargo xtask test`: everything that must pass.

use anyhow::Result;

use crate::{
    process::{cargo, run},
    programs, python, tidy,
};

pub(crate) fn test() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    tidy::tidy()?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let mut documents = cargo(&["doc", "--workspace", "--no-deps"]);
    run(documents.env("RUSTDOCFLAGS", "-D warnings"))?;
    // The binaries and shared libraries that the tests start and load.
    run(&mut cargo(&["build", "--workspace"]))?;
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    tests.env("INSTA_UPDATE", "no");
    programs::prepare()?;
    if let Some(python) = python::prepare()? {
        tests.env("KEYWAY_TEST_PYTHON", python);
    }
    run(&mut tests)
}
