//! Quarantine: for repeated crashes only, by digest, and never of what has worked here.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, process::Command};

use keyway_compat::{Workbench, forge::Forged};
use keyway_loader::{BackendConfig, Fix, History, loader::StageFailure};
use serde_json::json;

fn refusal(bench: &Workbench) -> StageFailure {
    bench.load("forged").map(|_| ()).unwrap_err().passed_over.remove(0).reason
}

#[test]
fn second_crash_in_the_probe_quarantines_the_digest_until_it_is_released() {
    let bench = Workbench::new();
    bench.forge(&Forged::new("abort"));
    for _ in 0..2 {
        let refused = refusal(&bench);
        assert!(matches!(refused, StageFailure::Probe(_)), "{refused}");
    }
    let refused = refusal(&bench);
    assert!(matches!(refused, StageFailure::Quarantined(_)), "{refused}");
    insta::assert_snapshot!(bench.neutral(&format!("{refused}; {}", refused.fix())));
    let history = &bench.loader.history;
    let quarantined = history.quarantine().unwrap();
    assert_eq!((quarantined.len(), quarantined[0].1.plugin.as_str()), (1, "forged 1.0.0"));
    // Another build of the same version is another digest.
    bench.forge(&Forged::new("nothing"));
    assert!(!matches!(refusal(&bench), StageFailure::Quarantined(_)));
    let released = history.release(&quarantined[0].0[..12]).unwrap();
    assert_eq!(released, [quarantined[0].0.clone()]);
    bench.forge(&Forged::new("abort"));
    assert!(matches!(refusal(&bench), StageFailure::Probe(_)), "a released library is tried again");
}

#[test]
fn hang_memory_and_refusals_are_no_crashes() {
    let mut bench = Workbench::new();
    let prober = bench.loader.prober.as_mut().unwrap();
    (prober.deadline, prober.memory) = (std::time::Duration::from_millis(300), 64 << 20);
    for behaviour in ["hang", "allocate", "kill_itself", "fork", "nothing"] {
        bench.forge(&Forged::new(behaviour));
        for _ in 0..4 {
            let refused = refusal(&bench);
            assert!(!matches!(refused, StageFailure::Quarantined(_)), "{behaviour}: {refused}");
        }
    }
}

/// The history, once the crashes of processes that are gone are counted.
fn counted(bench: &Workbench) -> History {
    let history = History::new(bench.loader.staging_dir.clone());
    history.count_crashes();
    history
}

/// A process that marks that it opens a backend with the plugin, and is killed.
fn die_while_opening(bench: &Workbench) {
    let dying = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "dies_while_opening", "--nocapture"])
        .env("KEYWAY_TEST_DIES_IN", bench.path())
        .output()
        .unwrap();
    assert!(!dying.status.success());
}

/// Started by [`die_while_opening`]; alone it does nothing.
#[test]
fn dies_while_opening() {
    let Some(directory) = std::env::var_os("KEYWAY_TEST_DIES_IN") else { return };
    let bench = Workbench::with("memory");
    let plugin = bench.load("memory").unwrap();
    let mut loader = bench.loader.clone();
    loader.history = History::new(std::path::Path::new(&directory).join("staged"));
    let _mark = loader.mark_opening(&plugin, "main").unwrap();
    std::process::abort();
}

#[test]
fn host_that_dies_while_it_opens_a_backend_counts_and_what_worked_is_never_quarantined() {
    let bench = Workbench::with("memory");
    let digest = bench.load("memory").unwrap().digest().unwrap();
    let open = |history: &History| history.library(digest).unwrap();
    die_while_opening(&bench);
    let history = counted(&bench);
    assert_eq!((open(&history).crashes.len(), open(&history).quarantined), (1, None));
    assert!(open(&history).crashes[0].what.contains("opening backend \"main\""));
    die_while_opening(&bench);
    let history = counted(&bench);
    assert!(open(&history).quarantined.is_some());
    let refused = bench.load("memory").map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("in quarantine"), "{refused}");
    history.release("").unwrap();

    // A machine that has seen it work blames something else.
    let plugin = bench.load("memory").unwrap();
    let config = BackendConfig { name: "main".into(), config: json!({}), data_dir: bench.path().to_owned() };
    futures_executor::block_on(bench.loader.open_store(&plugin, None, &config)).unwrap();
    for _ in 0..4 {
        die_while_opening(&bench);
    }
    let history = counted(&bench);
    assert_eq!((open(&history).crashes.len(), open(&history).quarantined), (4, None));
    bench.load("memory").unwrap();
}

#[test]
fn mark_of_a_living_process_counts_for_nothing() {
    let bench = Workbench::with("memory");
    let plugin = bench.load("memory").unwrap();
    let mark = bench.loader.mark_opening(&plugin, "main").unwrap();
    let history = counted(&bench);
    assert!(history.library(plugin.digest().unwrap()).unwrap().crashes.is_empty());
    drop(mark);
    let left = fs::read_dir(&bench.loader.staging_dir)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("in-use"));
    assert_eq!(left.count(), 0);
}

#[test]
fn damaged_history_is_put_aside_and_begun_anew() {
    let bench = Workbench::with("memory");
    bench.load("memory").unwrap();
    let file = bench.loader.staging_dir.join("history.json");
    for damage in [&b"{"[..], b"7", b"\xff\xfe", b"{\"libraries\":{\"x\":7}}"] {
        fs::write(&file, damage).unwrap();
        bench.load("memory").unwrap();
        assert_eq!(fs::read(file.with_extension("damaged")).unwrap(), damage);
        assert!(fs::read_to_string(&file).unwrap().contains("memory 1.0.0"));
    }
}

#[test]
fn program_that_cannot_probe_is_no_crash_of_the_plugin() {
    let mut bench = Workbench::with("memory");
    // This program ends at once, with its own exit code.
    bench.loader.prober.as_mut().unwrap().program = "/bin/false".into();
    let requirement = keyway_loader::Requirement::parse("memory").unwrap();
    for _ in 0..4 {
        let refused = bench.loader.load(&requirement).map(|_| ()).unwrap_err().passed_over.remove(0).reason;
        assert!(refused.to_string().contains("/bin/false, ends before it loads anything"), "{refused}");
    }
    bench.loader.prober = Some(keyway_compat::prober());
    bench.load("memory").unwrap();
}

#[test]
fn refusal_that_is_the_machines_is_not_remembered() {
    let bench = Workbench::new();
    let mut forged = Forged::new("nothing");
    forged.arguments = vec!["-Wl,--no-as-needed".to_owned(), "-lpthread".to_owned()];
    // A library that the system may have, and has not: it is there at the second start.
    let needed = bench.path().join("libsometimes.so");
    fs::write(&needed, Forged::new("nothing").compile(bench.path())).unwrap();
    forged.arguments.push(needed.display().to_string());
    let bytes = forged.compile(bench.path());
    fs::remove_file(&needed).unwrap();
    bench.put("forged", &bytes);
    let mut loader = bench.loader.clone();
    loader.libraries = vec![needed.display().to_string(), "libsometimes.so".to_owned()];
    loader.trust.policy = Some(keyway_loader::Policy::Unchecked);
    let said = || {
        let requirement = keyway_loader::Requirement::parse("forged").unwrap();
        loader.load(&requirement).map(|_| ()).unwrap_err().passed_over.remove(0).reason.to_string()
    };
    let text = said();
    assert!(text.contains("the dynamic linker refuses"), "{text}");
    fs::write(&needed, Forged::new("nothing").compile(bench.path())).unwrap();
    let text = said();
    assert!(text.contains("does not export"), "the first refusal is remembered: {text}");
}

#[test]
fn history_of_somebody_else_is_not_followed_nor_waited_for() {
    let bench = Workbench::with("memory");
    bench.load("memory").unwrap();
    let staged = &bench.loader.staging_dir;
    let victim = bench.path().join("victim");
    fs::write(&victim, "mine").unwrap();
    let pipe = staged.join("in-use-pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for name in ["history.lock", "history.json", "in-use-link"] {
        let path = staged.join(name);
        let _absent = fs::remove_file(&path);
        std::os::unix::fs::symlink(&victim, &path).unwrap();
    }
    let history = counted(&bench);
    assert!(history.check().is_err());
    history.release("").unwrap_err();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    // It serves all the same.
    bench.load("memory").unwrap();
}
