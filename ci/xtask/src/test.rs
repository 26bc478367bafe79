//! `cargo xtask test`: everything that must pass.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    compilers, conform, evolution, node, openbao,
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
    tests.env("INSTA_UPDATE", "no").env(conform::REPORTS, conform::reports()?);
    programs::prepare()?;
    tests.envs(build_variants()?);
    if let Some(python) = python::prepare()? {
        tests.env("KEYWAY_TEST_PYTHON", python);
    }
    if let Some(bao) = openbao::prepare()? {
        tests.env("KEYWAY_TEST_BAO", bao);
    }
    if let Some(packages) = node::prepare()? {
        tests.env("KEYWAY_TEST_NODE_PATH", packages);
    }
    run(&mut tests)?;
    conform::conform_libraries(conform::Wanted::default())
}

/// Builds the libraries of other interfaces and of another compiler, and prints what to set for tests that are run singly.
pub(crate) fn variants() -> Result<()> {
    for (variable, directory) in build_variants()? {
        println!("export {variable}={}", directory.display());
    }
    Ok(())
}

fn build_variants() -> Result<Vec<(&'static str, PathBuf)>> {
    let mut variables = vec![("KEYWAY_TEST_EVOLUTION", evolution::prepare()?)];
    variables.extend(compilers::prepare()?.map(|plugins| ("KEYWAY_TEST_SECOND_COMPILER", plugins)));
    Ok(variables)
}
