//! Hosts and plugins of several minor versions of the interface, and of another compiler. `cargo xtask test`
//! builds them.
#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what it skips, and fails by panicking"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use keyway_compat::{Workbench, built, plugin};
use keyway_conformance::Options;
use keyway_loader::{Fix, discover::file_name};
use serde_json::json;

/// A directory that xtask has prepared; none, with a printed line, if it has not.
fn prepared(variable: &str) -> Option<PathBuf> {
    let directory = env::var_os(variable).map(PathBuf::from);
    if directory.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "{variable} is not set: run `cargo xtask test`");
        eprintln!("SKIPPED: {variable} is not set; `cargo xtask test` prepares it");
    }
    directory
}

/// What a host prints that loads these plugins in this order.
fn host(program: &Path, plugins: &[&PathBuf]) -> String {
    let output = Command::new(program).args(plugins).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn hosts_and_plugins_of_three_minors_keep_all_promises_in_any_order() {
    let Some(variants) = prepared("KEYWAY_TEST_EVOLUTION") else { return };
    let program = |minor: usize| match minor {
        0 => built("keyway-evolution"),
        minor => variants.join(format!("1.{minor}/debug/keyway-evolution")),
    };
    let library = |minor: usize| match minor {
        0 => plugin("memory"),
        minor => variants.join(format!("1.{minor}/debug")).join(file_name("memory")),
    };
    let libraries = [library(0), library(1), library(2)];
    for minor in 0..3 {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let said = host(&program(minor), &order.map(|plugin: usize| &libraries[plugin]));
            for plugin in 0..3 {
                let kept = format!("host 1.{minor}.0, plugin 1.{plugin}.0: ");
                let line = said.lines().find(|line| line.starts_with(&kept)).unwrap_or_default();
                assert!(line.ends_with(" passed, 0 failed"), "{order:?}: {said}");
            }
            for added in 1..=minor {
                // In the order of loading: what a plugin has answers, and for what it has not the default does.
                // The first of each, opened before the suite opens them again and again.
                let heard: Vec<&str> = said
                    .lines()
                    .filter(|line| line.starts_with(&format!("host: added in 1.{added}")))
                    .take(3)
                    .collect();
                let expected = order.map(|plugin| {
                    let (store, root) = if plugin >= added { (10, "Some(20)") } else { (0, "None") };
                    format!("host: added in 1.{added}: store {store}, root {root}")
                });
                assert_eq!(heard, expected, "host 1.{minor}, {order:?}");
            }
            for plugin in 1..3 {
                for added in 1..=plugin {
                    let services = if minor >= added { "Some(30)" } else { "None" };
                    let line = format!("plugin: added in 1.{added}: services {services}");
                    assert!(said.contains(&line), "{line:?} is not in: {said}");
                }
            }
        }
    }
}

#[test]
fn same_version_with_another_layout_is_refused_in_a_few_lines() {
    let Some(variants) = prepared("KEYWAY_TEST_EVOLUTION") else { return };
    let bench = Workbench::new();
    bench.put("memory", &fs::read(variants.join("skewed/debug").join(file_name("memory"))).unwrap());
    bench.lock("memory");
    // With a probe, and without one in the host itself.
    let mut said = Vec::new();
    for prober in [bench.loader.prober.clone(), None] {
        let mut loader = bench.loader.clone();
        loader.prober = prober;
        loader.history = keyway_loader::History::new(bench.path().join(format!("history{}", said.len())));
        let error =
            loader.load(&keyway_loader::Requirement::parse("memory").unwrap()).map(|_| ()).unwrap_err();
        let reason = &error.passed_over[0].reason;
        let text = bench.neutral(&format!("{}: {reason}; {}", reason.stage().name(), reason.fix()));
        assert!(text.len() < 1_000, "{} bytes: {text}", text.len());
        // The detail holds the rest.
        assert!(reason.detail().is_some_and(|detail| detail.len() > 2_000));
        said.push(text);
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn plugins_of_another_compiler_keep_all_promises() {
    let Some(plugins) = prepared("KEYWAY_TEST_SECOND_COMPILER") else { return };
    for (name, config) in [("memory", json!({})), ("sqlite", json!({ "path": "k.db" }))] {
        let bench = Workbench::new();
        let library = fs::read(plugins.join(file_name(name))).unwrap();
        // A library tells its compiler in `.comment`; both are there, or this compares one with itself.
        let names = |version: &str| library.windows(version.len()).any(|window| window == version.as_bytes());
        assert!(names("rustc version 1.96"), "{name} is not built by the second compiler");
        bench.put(name, &library);
        bench.lock(name);
        let report = bench.conform(name, config, Options::default());
        assert!(report.broken().count() == 0 && report.kept().count() > 75, "{name}: {report}");
    }
}
