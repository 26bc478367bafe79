//! The power goes at any write, sync or truncation, and what was not synced is kept, lost or torn.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, thread};

use futures_executor::block_on;
use keyway_conformance::{Random, ledger::Ledger};
use keyway_faults::{Disk, Fault, campaign, store};
use keyway_loader::{Generation, Key, RestoreMode, RestoreRecord, WriteId};

const WRITERS: u64 = 4;
const LIVES: u64 = 3;

/// Writes with all writers until the power goes; short of that, a time.
fn write_until_dark(store: &Generation, ledgers: &mut [Ledger], disk: &Disk, seed: u64) {
    thread::scope(|scope| {
        for (writer, ledger) in (0_u64..).zip(ledgers) {
            scope.spawn(move || {
                let mut random = Random::new(seed ^ (writer << 32));
                for _ in 0..200 {
                    // The ledger notes an error; only the loss of power ends the loop.
                    let _noted = ledger.write(store, &mut random, &mut |_| ());
                    if disk.is_dead() {
                        break;
                    }
                }
            });
        }
    });
}

fn check(directory: &Path, ledgers: &mut [Ledger], seed: u64) {
    let store =
        store::open(directory).unwrap_or_else(|error| panic!("seed {seed}: it does not open: {error}"));
    for ledger in ledgers {
        ledger.check(&store).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
    store::close(&store);
    drop(store);
    assert_eq!(store::integrity(directory), "ok", "seed {seed}");
}

#[test]
fn acknowledged_writes_survive_and_no_batch_is_half_there() {
    let rounds = campaign::rounds(150, 5_000);
    let mut acknowledged = 0;
    for seed in 0..rounds {
        let directory = tempfile::tempdir().unwrap();
        let mut ledgers: Vec<Ledger> = (0..WRITERS).map(Ledger::new).collect();
        let mut random = Random::new(seed);
        for life in 0..LIVES {
            let disk = Disk::new(directory.path()).unwrap();
            // From the first write of the opening to long after several checkpoints.
            disk.set_fault(Some(Fault::LosePower {
                nth: 1 + random.below(if life == 0 { 400 } else { 150 }),
            }));
            if let Ok(store) = store::open(directory.path()) {
                write_until_dark(&store, &mut ledgers, &disk, random.number());
                disk.lose_power();
                store::close(&store);
            }
            disk.settle(random.number()).unwrap();
            check(directory.path(), &mut ledgers, seed);
        }
        acknowledged += ledgers.iter().map(Ledger::acknowledged).sum::<u64>();
    }
    assert!(acknowledged > rounds * 20, "too little was written to prove anything: {acknowledged} writes");
}

#[test]
fn restore_is_there_whole_or_not_at_all() {
    for seed in 0..campaign::rounds(60, 2_000) {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::new(0);
        let mut random = Random::new(seed);
        let store = store::open(directory.path()).unwrap();
        for _ in 0..20 {
            ledger.write(&store, &mut random, &mut |_| ()).unwrap();
        }
        store::close(&store);
        drop(store);

        let disk = Disk::new(directory.path()).unwrap();
        disk.set_fault(Some(Fault::LosePower { nth: 1 + random.below(120) }));
        let mut finished = false;
        if let Ok(store) = store::open(directory.path()) {
            finished = restore(&store).is_ok();
            disk.lose_power();
            store::close(&store);
        }
        disk.settle(random.number()).unwrap();

        let store = store::open(directory.path()).unwrap();
        let restored = (0..40_u32).filter(|index| get_restored(&store, *index)).count();
        assert!(restored == 0 || restored == 40, "seed {seed}: {restored} of 40 records of a restore");
        assert!(!finished || restored == 40, "seed {seed}: a restore that was finished is gone");
        if restored == 0 {
            ledger.check(&store).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        }
        store::close(&store);
        drop(store);
        assert_eq!(store::integrity(directory.path()), "ok", "seed {seed}");
    }
}

fn restore(store: &Generation) -> Result<u64, keyway_loader::Error> {
    let sink = block_on(store.restore(&store::call(), RestoreMode::REPLACE))?;
    for index in 0..40_u32 {
        let key = index.to_be_bytes();
        let record = RestoreRecord::new(Key::new("restored", &key), &[7; 700], 0);
        block_on(sink.write(&store::call(), &[record]))?;
    }
    block_on(sink.finish(&store::call(), WriteId::default()))
}

fn get_restored(store: &Generation, index: u32) -> bool {
    block_on(store.get(&store::call(), Key::new("restored", &index.to_be_bytes()))).unwrap().is_some()
}
