//! `cargo xtask test`: everything that must pass.

use std::{
    ffi::OsString,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    api, compilers, conform, evolution, guide, node, openbao,
    process::{build_workspace, cargo, run},
    programs, python, skipped, suite, template, tidy,
};

pub(crate) fn test() -> Result<()> {
    let mut steps = Steps::default();
    let result = run_steps(&mut steps);
    steps.print();
    skipped::print(result.is_ok());
    result
}

fn run_steps(steps: &mut Steps) -> Result<()> {
    steps.time("fmt, tidy", || {
        run(&mut cargo(&["fmt", "--all", "--check"]))?;
        tidy::tidy()
    })?;
    steps.time("clippy", || {
        run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    steps.time("rustdoc", || {
        run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    steps.time("public items", || api::check(false))?;
    steps.time("build", build_workspace)?;
    let mut environment: Vec<(&str, OsString)> =
        vec![("INSTA_UPDATE", "no".into()), (conform::REPORTS, conform::reports()?.into())];
    steps.time("servers and clients", programs::prepare)?;
    let variants = steps.time("variants", build_variants)?;
    environment.extend(variants.into_iter().map(|(name, directory)| (name, directory.into())));
    if let Some(python) = steps.time("Python's client", python::prepare)? {
        environment.push(("KEYWAY_TEST_PYTHON", python.into()));
    }
    if let Some(bao) = steps.time("OpenBao", openbao::prepare)? {
        environment.push(("KEYWAY_TEST_BAO", bao.into()));
    }
    if let Some(packages) = steps.time("JavaScript's client", node::prepare)? {
        environment.push(("KEYWAY_TEST_NODE_PATH", packages.into()));
    }
    steps.time("template", template::prove)?;
    steps.time("guide", || guide::follow(false))?;
    steps.time("tests", || suite::test(&environment))?;
    steps.time("conformance", || conform::conform_libraries(conform::Wanted::default()))
}

/// How long each step has taken.
#[derive(Default)]
struct Steps(Vec<(&'static str, Duration)>);

impl Steps {
    fn time<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let result = step();
        self.0.push((name, begun.elapsed()));
        result
    }

    fn print(&self) {
        println!("\nstep                      seconds");
        for (name, took) in &self.0 {
            println!("{name:<24} {:>8}", took.as_secs());
        }
        println!("{:<24} {:>8}", "all", self.0.iter().map(|(_, took)| took.as_secs()).sum::<u64>());
    }
}

/// Builds the libraries of other interfaces and of another compiler, and prints what to set for tests that
/// are run singly.
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
