//! A long load, scaled down: what should stay flat stays flat.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_executor::block_on;
use keyway_conformance::{Random, ledger::Ledger};
use keyway_faults::{
    campaign,
    store::{self, call},
};
use keyway_loader::{BackupPull, DropKeyspace, Generation, Key, Put, Scan, WriteId};

/// What a process and a store have in use.
#[derive(Debug, Clone, Copy)]
struct Use {
    wal_mib: u64,
    database_mib: u64,
    resident_mib: u64,
    open_files: usize,
}

fn in_use(directory: &Path) -> Use {
    let mib = |name| fs::metadata(directory.join(name)).map_or(0, |metadata| metadata.len() / (1024 * 1024));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    Use {
        wal_mib: mib("k.db-wal"),
        database_mib: mib("k.db"),
        resident_mib: resident / 1024,
        open_files: fs::read_dir("/proc/self/fd").unwrap().count(),
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Puts that expire soon, keyspaces that come and go, scans and whole backups, until it is over.
fn churn(store: &Generation, kind: u64, over: &AtomicBool) {
    let mut random = Random::new(kind);
    while !over.load(Ordering::Relaxed) {
        match kind {
            0 => {
                let key = random.below(20_000).to_be_bytes();
                let put = Put::new(Key::new("expiring", &key), &[1; 900]).expiring_at_ms(now_ms() + 1_500);
                block_on(store.put(&call(), put)).unwrap();
            }
            1 => {
                let name = format!("passing{}", random.below(3));
                for index in 0..300_u32 {
                    let key = index.to_be_bytes();
                    block_on(store.put(&call(), Put::new(Key::new(&name, &key), &[2; 900]))).unwrap();
                }
                block_on(store.drop_keyspace(&call(), DropKeyspace::new(&name, WriteId::default()))).unwrap();
            }
            2 => {
                block_on(store.scan(&call(), Scan::prefix("expiring", b""))).unwrap();
            }
            _ => {
                let stream = block_on(store.backup(&call())).unwrap();
                let pull = BackupPull { max_items: 200, max_bytes: 1024 * 1024 };
                while !block_on(stream.next(&call(), pull)).unwrap().is_done() {}
                thread::sleep(Duration::from_millis(300));
            }
        }
    }
}

#[test]
fn wal_memory_and_handles_stay_flat_under_a_long_load() {
    let seconds = campaign::rounds(20, 3_600);
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path()).unwrap();
    let over = AtomicBool::new(false);
    let mut ledgers: Vec<Ledger> = (0..4).map(Ledger::new).collect();
    let (mut samples, begun) = (Vec::new(), Instant::now());
    thread::scope(|scope| {
        let (store, over) = (&store, &over);
        for (writer, ledger) in (0_u64..).zip(&mut ledgers) {
            scope.spawn(move || {
                let mut random = Random::new(writer);
                while !over.load(Ordering::Relaxed) {
                    ledger.write(store, &mut random, &mut |_| ()).unwrap();
                }
            });
        }
        for kind in 0..4 {
            scope.spawn(move || churn(store, kind, over));
        }
        while begun.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(Duration::from_millis(500));
            samples.push(in_use(directory.path()));
        }
        over.store(true, Ordering::Relaxed);
    });
    // The first third fills caches, and lets the first records expire.
    let (early, late) = samples.split_at(samples.len() / 3);
    let most = |samples: &[Use], of: fn(&Use) -> u64| samples.iter().map(of).max().unwrap();
    let written: u64 = ledgers.iter().map(Ledger::acknowledged).sum();
    println!("{written} writes of the ledgers; first {:?}, last {:?}", early.first(), late.last());
    assert!(most(late, |sample| sample.wal_mib) <= 64, "the WAL grows: {samples:?}");
    let database = (most(early, |sample| sample.database_mib), most(late, |sample| sample.database_mib));
    assert!(database.1 <= database.0 * 2 + 16, "what expired or was dropped is not reclaimed: {samples:?}");
    let resident = (most(early, |sample| sample.resident_mib), most(late, |sample| sample.resident_mib));
    assert!(resident.1 <= resident.0 + resident.0 / 4 + 16, "memory grows: {samples:?}");
    let files =
        (most(early, |sample| sample.open_files as u64), most(late, |sample| sample.open_files as u64));
    assert!(files.1 <= files.0 + 8, "open files: {samples:?}");

    for ledger in &mut ledgers {
        ledger.check(&store).unwrap();
    }
    store::close(&store);
    drop(store);
    assert_eq!(store::integrity(directory.path()), "ok");
}
