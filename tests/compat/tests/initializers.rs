//! Libraries whose initializers do what no library should: the host lives, other plugins load, and the error
//! says which it was. All are trusted, so that nothing but the probe stands between them and the host.
#![cfg(target_os = "linux")]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::fd::AsFd, time::Duration};

use keyway_compat::{Workbench, forge::Forged, plugin};
use keyway_loader::loader::StageFailure;
use serde_json::json;

/// A bench with the memory plugin and the forged one, as a host has several.
fn bench() -> Workbench {
    let mut bench = Workbench::with("memory");
    // Short, as only a hang makes a test wait for the deadline.
    let prober = bench.loader.prober.as_mut().unwrap();
    (prober.deadline, prober.memory) = (Duration::from_secs(3), 96 << 20);
    bench
}

/// The reason why a library that does this is refused. The host goes on.
fn said_of(bench: &Workbench, forged: &Forged<'_>) -> String {
    bench.forge(forged);
    let error = bench.load("forged").map(|_| ()).unwrap_err();
    bench.open("memory", json!({})).unwrap();
    bench.neutral(&error.passed_over[0].reason.to_string())
}

#[test]
fn harmful_initializer_is_told_apart_and_harms_no_other_plugin() {
    let bench = bench();
    let behaviours = [
        "abort",
        "crash",
        "exit",
        "exit_quietly",
        "hang",
        "spin",
        "fork",
        "spawn",
        "kill",
        "kill_thread",
        "queue",
        "kill_itself",
        "allocate",
        "connect",
        "datagram",
        "forge",
    ];
    let said: Vec<String> = behaviours
        .iter()
        .map(|behaviour| format!("{behaviour}:\n    {}", said_of(&bench, &Forged::new(behaviour))))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn flood_of_output_is_bounded_and_paints_on_no_terminal() {
    let bench = bench();
    let said = said_of(&bench, &Forged::new("flood"));
    assert!(said.contains("SIGABRT") && said.contains("line 99999"), "{said}");
    assert!(said.len() < 1_000 && !said.contains('\u{1b}'), "{} bytes: {said:?}", said.len());
}

#[test]
fn child_has_no_environment_and_no_file_of_its_parent() {
    // An open file that the server may inherit from its parent.
    let secret = tempfile::NamedTempFile::new().unwrap();
    rustix::io::fcntl_setfd(secret.as_file().as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let said = said_of(&bench(), &Forged::new("look"));
    let leaked = ["environment:", secret.path().to_str().unwrap()];
    assert!(said.contains("SIGABRT") && !leaked.iter().any(|text| said.contains(text)), "{said}");
}

#[test]
fn thread_that_stays_is_no_reason_to_refuse() {
    let bench = bench();
    // It is refused for what it lacks, not for its thread.
    let said = said_of(&bench, &Forged::new("thread"));
    assert!(said.contains("does not export"), "{said}");
}

#[test]
fn hang_of_what_has_worked_before_is_inconclusive_and_lets_it_run() {
    let bench = Workbench::with("memory");
    let plugin = bench.load("memory").unwrap();
    let config = keyway_loader::BackendConfig {
        name: "main".into(),
        config: json!({}),
        data_dir: bench.path().to_owned(),
    };
    futures_executor::block_on(bench.loader.open_store(&plugin, None, &config)).unwrap();
    // Another version of the host, on a machine where nothing comes to an end.
    let mut loader = bench.loader.clone();
    loader.host = "0.0.1-test".to_owned();
    loader.prober.as_mut().unwrap().deadline = Duration::ZERO;
    let requirement = keyway_loader::Requirement::parse("memory").unwrap();
    loader.load(&requirement).unwrap();
    // What has never worked here is not let in by the same.
    let fresh = Workbench::with("memory");
    let mut loader = fresh.loader.clone();
    loader.prober.as_mut().unwrap().deadline = Duration::ZERO;
    let error = loader.load(&requirement).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("inconclusive"), "{error}");
    assert!(error.passed_over[0].reason.is_transient());
}

#[test]
fn verdict_is_kept_for_the_digest_and_the_version_of_the_host() {
    let bench = Workbench::with("memory");
    bench.load("memory").unwrap();
    // No other probe: there is nothing to start it with.
    let mut loader = bench.loader.clone();
    loader.prober.as_mut().unwrap().program = "/nonexistent".into();
    let requirement = keyway_loader::Requirement::parse("memory").unwrap();
    loader.load(&requirement).unwrap();
    loader.host = "0.0.1-test".to_owned();
    let error = loader.load(&requirement).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("start the process that probes plugins, /nonexistent"), "{error}");
    // Another digest has no verdict.
    let mut bytes = fs::read(plugin("memory")).unwrap();
    bytes.push(0);
    bench.put("memory", &bytes);
    bench.lock("memory");
    loader.host = bench.loader.host.clone();
    let error = loader.load(&requirement).map(|_| ()).unwrap_err();
    assert!(matches!(error.passed_over[0].reason, StageFailure::Probe(_)), "{error}");
}
