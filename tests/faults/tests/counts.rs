//! What can be counted is not allowed to grow: syncs of the disk.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;

use futures_executor::block_on;
use keyway_faults::{
    Call, Disk,
    store::{self, call},
};
use keyway_loader::{Key, Put};

/// Syncs for each acknowledged put. Each of the `writers` waits for its answer before its next put.
fn syncs_per_put(writers: u32, puts: u32) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::counting(directory.path());
    let store = store::open(directory.path()).unwrap();
    let before = disk.counts().of(Call::Sync);
    thread::scope(|scope| {
        for writer in 0..writers {
            let store = &store;
            scope.spawn(move || {
                for turn in 0..puts / writers {
                    let key = [writer.to_be_bytes(), turn.to_be_bytes()].concat();
                    block_on(store.put(&call(), Put::new(Key::new("k", &key), &[7; 1_024]))).unwrap();
                }
            });
        }
    });
    let syncs = disk.counts().of(Call::Sync) - before;
    store::close(&store);
    syncs as f64 / f64::from(puts / writers * writers)
}

#[test]
fn writers_who_come_together_share_their_syncs() {
    // Alone, each put has its own; a checkpoint's two come on top, one in hundreds of puts.
    for (writers, most) in [(1, 1.05), (8, 0.5), (64, 1.0 / 16.0), (256, 1.0 / 32.0)] {
        let measured = syncs_per_put(writers, 5_120);
        println!("{writers} writers: {measured:.4} syncs for each put, of {most:.4} that are allowed");
        assert!(
            measured <= most,
            "{writers} writers: {measured:.4} syncs for each put, and {most:.4} are allowed"
        );
        assert!(writers > 1 || measured >= 1.0, "a put was acknowledged without a sync");
    }
}
