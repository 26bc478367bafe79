//! `kill -9` at full write load, and two who want the same file.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use keyway_conformance::{
    Random,
    ledger::{Event, Ledger},
};
use keyway_faults::{campaign, store};

fn start(directory: &Path, seed: u64) -> Child {
    Command::new(env!("CARGO_BIN_EXE_load"))
        .arg(directory)
        .arg(seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until the store is open, and answers the lines that follow.
fn opened(child: &mut Child) -> BufReader<std::process::ChildStdout> {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    if line != "open\n" {
        let mut error = String::new();
        child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        panic!("it did not open: {error}");
    }
    lines
}

#[test]
fn acknowledged_writes_survive_kill_and_the_lock_ends_with_its_process() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(9);
    // One for all writers: their slots differ.
    let mut ledger = Ledger::new(0);
    for round in 0..campaign::rounds(12, 300) {
        let mut child = start(directory.path(), round);
        let lines = opened(&mut child);
        let reader = thread::spawn(move || lines.lines().map_while(Result::ok).collect::<Vec<String>>());
        thread::sleep(Duration::from_millis(50 + random.below(250)));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reader.join().unwrap() {
            if let Some(event) = Event::from_line(&line) {
                ledger.note(&event);
            }
        }
        // The lock's file is still there, with the dead one's name in it.
        assert!(directory.path().join("k.db.lock").exists());
        let store = store::open(directory.path()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        ledger.check(&store).unwrap_or_else(|broken| panic!("round {round}: {broken}"));
        store::close(&store);
        drop(store);
        assert_eq!(store::integrity(directory.path()), "ok", "round {round}");
    }
    assert!(ledger.acknowledged() > 1_000, "only {} writes were acknowledged", ledger.acknowledged());
}

#[test]
fn second_process_is_refused_and_told_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = start(directory.path(), 1);
    let lines = opened(&mut child);
    let drain = thread::spawn(move || lines.lines().map_while(Result::ok).count());
    let refused = store::open(directory.path()).err().unwrap();
    assert!(refused.contains(&format!("in use by process {} (load)", child.id())), "{refused}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(drain.join().unwrap() > 0);
    store::close(&store::open(directory.path()).unwrap());
}
