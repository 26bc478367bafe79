//! Single calls fail, reads come back short, the disk fills up: what the backend says is true, and it goes on
//! when the disk does.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, thread};

use futures_executor::block_on;
use keyway_conformance::{
    Random,
    ledger::{KEYSPACE, Ledger},
};
use keyway_faults::{
    Call, Disk, Fault, campaign,
    store::{self, call},
};
use keyway_loader::{Begin, ErrorCode, Generation, Isolation, Key, Outcome, Put, Scan};

fn is_ready(store: &Generation) -> bool {
    block_on(store.health(&call())).is_ok_and(|health| health.is_ready())
}

/// A read that opens a separate connection.
fn read_in_a_snapshot(store: &Generation) -> Result<(), keyway_loader::Error> {
    let begin = Begin { isolation: Isolation::SNAPSHOT, read_only: true };
    let transaction = block_on(store.begin(&call(), begin))?;
    block_on(transaction.scan(&call(), Scan::prefix(KEYSPACE, b"")))?;
    block_on(transaction.rollback(&call()))
}

/// Writes under a fault; the disk is sound again afterwards, and so must the store be.
///
/// Answers how many calls the fault struck.
fn survive(directory: &Path, fault: Fault, seed: u64) -> u64 {
    let what = format!("{fault:?}, seed {seed}");
    let disk = Disk::new(directory).unwrap();
    let store = store::open(directory).unwrap();
    let (mut ledger, mut random) = (Ledger::new(0), Random::new(seed));
    for _ in 0..5 {
        ledger.write(&store, &mut random, &mut |_| ()).unwrap();
    }
    disk.set_fault(Some(fault));
    for _ in 0..25 {
        // An error is a note in the ledger, and it says whether anything was changed.
        let _noted = ledger.write(&store, &mut random, &mut |_| ());
        let _failed = read_in_a_snapshot(&store);
    }
    disk.set_fault(None);
    assert!(is_ready(&store), "{what}: {:?}", block_on(store.health(&call())));
    ledger.check(&store).unwrap_or_else(|broken| panic!("{what}: {broken}"));
    for _ in 0..5 {
        ledger.write(&store, &mut random, &mut |_| ()).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    store::close(&store);
    drop(store);
    assert_eq!(store::integrity(directory), "ok", "{what}");
    let store = store::open(directory).unwrap_or_else(|error| panic!("{what}: {error}"));
    ledger.check(&store).unwrap_or_else(|broken| panic!("{what}, opened again: {broken}"));
    store::close(&store);
    disk.struck()
}

#[test]
fn each_call_may_fail_once_or_thrice_and_no_answer_is_wrong() {
    let mut struck = [0; Call::ALL.len() + 1];
    for nth in 1..=campaign::rounds(12, 120) {
        let failing = Call::ALL.map(|call| Fault::Fail { call, nth, times: 1 + 2 * (nth % 2) });
        let short = Fault::ShortRead { nth, times: 1 + nth % 3 };
        for (struck, fault) in struck.iter_mut().zip(failing.into_iter().chain([short])) {
            *struck += survive(tempfile::tempdir().unwrap().path(), fault, nth);
        }
    }
    // Files are removed, and locked in the old way, by opening and closing only: see below.
    for (call, struck) in Call::ALL.map(Some).into_iter().chain([None]).zip(struck) {
        let elsewhere = matches!(call, Some(Call::Lock | Call::Map | Call::Remove));
        assert!(struck > 0 || elsewhere, "{call:?} was never struck (none is the short read)");
    }
}

#[test]
fn opening_on_a_failing_disk_says_so_and_succeeds_on_a_sound_one() {
    let mut struck = [0; Call::ALL.len()];
    for nth in 1..=campaign::rounds(8, 60) {
        for (call, struck) in Call::ALL.into_iter().zip(&mut struck) {
            let directory = tempfile::tempdir().unwrap();
            let disk = Disk::new(directory.path()).unwrap();
            disk.set_fault(Some(Fault::Fail { call, nth, times: 1_000 }));
            match store::open(directory.path()) {
                Ok(store) => store::close(&store),
                Err(text) => assert!(
                    text.contains("sqlite") && text.contains("k.db") || text.contains("SQLITE_"),
                    "{call:?} {nth}: {text}"
                ),
            }
            *struck += disk.struck();
            disk.set_fault(None);
            let store =
                store::open(directory.path()).unwrap_or_else(|error| panic!("{call:?} {nth}: {error}"));
            Ledger::new(0).write(&store, &mut Random::new(nth), &mut |_| ()).unwrap();
            store::close(&store);
        }
    }
    // Nothing is cut off by opening.
    let expected = Call::ALL.into_iter().zip(struck).filter(|(call, _)| *call != Call::Truncate);
    assert!(expected.into_iter().all(|(_, struck)| struck > 0), "{struck:?} of {:?}", Call::ALL);
}

#[test]
fn full_disk_refuses_with_proof_is_seen_by_health_and_recovers_alone() {
    for room in [0, 5_000, 50_000] {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path()).unwrap();
        let store = store::open(directory.path()).unwrap();
        let (mut ledger, mut random) = (Ledger::new(0), Random::new(room));
        ledger.write(&store, &mut random, &mut |_| ()).unwrap();
        disk.set_fault(Some(Fault::Full { room }));
        let mut refused = 0;
        for _ in 0..80 {
            if let Err(error) = ledger.write(&store, &mut random, &mut |_| ()) {
                assert_eq!(
                    (error.code(), error.outcome()),
                    (ErrorCode::RESOURCE_EXHAUSTED, Outcome::NOT_APPLIED)
                );
                assert!(error.native_code().starts_with("SQLITE_FULL"), "{error}");
                refused += 1;
            }
        }
        assert!(refused > 0, "room {room}: the disk never filled up");
        let health = block_on(store.health(&call())).unwrap();
        assert!(health.is_readable() && !health.is_writable(), "{health:?}");
        assert!(health.detail().contains("full"), "{}", health.detail());
        ledger.check(&store).unwrap();
        disk.set_fault(None);
        assert!(is_ready(&store));
        ledger.write(&store, &mut random, &mut |_| ()).unwrap();
        store::close(&store);
        drop(store);
        assert_eq!(store::integrity(directory.path()), "ok");
    }
}

/// Where in the database's file these bytes are.
fn find(directory: &Path, bytes: &[u8]) -> u64 {
    let file = fs::read(directory.join(store::FILE)).unwrap();
    file.windows(bytes.len()).position(|window| window == bytes).unwrap() as u64
}

#[test]
fn call_that_fails_takes_none_of_its_group_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path()).unwrap();
    let put = |store: &Generation, index: u8, fill: u8| {
        let value = [fill; 3_000];
        block_on(store.put(&call(), Put::new(Key::new("group", &[index]), &value)))
    };
    for index in 0..32 {
        // One to a page.
        put(&store, index, 100 + index).unwrap();
    }
    store::close(&store);
    drop(store);

    let at = find(directory.path(), &[117; 3_000]);
    let disk = Disk::new(directory.path()).unwrap();
    let store = store::open(directory.path()).unwrap();
    disk.set_fault(Some(Fault::BadSector { at }));
    // While this one holds the writer, the others gather.
    let begin = Begin { isolation: Isolation::SERIALIZABLE, read_only: false };
    let first = block_on(store.begin(&call(), begin)).unwrap();
    let results: Vec<_> = thread::scope(|scope| {
        let (store, put) = (&store, &put);
        let threads: Vec<_> = (0..32).map(|index| scope.spawn(move || put(store, index, index))).collect();
        thread::sleep(std::time::Duration::from_millis(200));
        block_on(first.rollback(&call())).unwrap();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (index, result) in results.iter().enumerate() {
        match result {
            Ok(_) => assert_ne!(index, 17, "what cannot be read was written over"),
            Err(error) => {
                assert_eq!((index, error.code()), (17, ErrorCode::UNAVAILABLE), "{error}");
                assert_eq!(error.outcome(), Outcome::NOT_APPLIED);
                assert!(error.native_code().starts_with("SQLITE_IOERR_READ"), "{error}");
            }
        }
    }
    disk.set_fault(None);
    for index in 0..32_u8 {
        let record = block_on(store.get(&call(), Key::new("group", &[index]))).unwrap().unwrap();
        let expected = if index == 17 { 117 } else { index };
        assert!(record.value().iter().all(|byte| *byte == expected), "{index}");
    }
    store::close(&store);
}
