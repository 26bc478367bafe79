//! Counting and rotating keys.

use std::sync::Arc;

use keyway_core::{
    barrier::{BarrierError, UseBound},
    seal::{SealRecord, ShareCounts, initialise},
    token::{Tokens, forget_unopenable},
};
use keyway_crypto::{
    envelope::{RecordKind, key_number},
    keyring::Record,
};
use keyway_loader::{Key, Put};

use crate::chaos::{Disk, REQUEST, Script, barrier, cluster};

const RECORD: Record<'static> =
    Record { mount: uuid::Uuid::nil(), kind: RecordKind::Token, key: b"x", version: 0 };

fn use_of_key_1() -> Key<'static> {
    Key::new("keyway-system", b"key-use/1")
}

#[tokio::test]
async fn key_is_rotated_before_its_bound_and_old_records_stay_readable() {
    let storage = Disk::new(true).open().await;
    let made = cluster(&storage).await;
    let bound = UseBound::new(1_000).unwrap();
    let keys = barrier(&storage, &made, bound).await;
    let mut sealed = Vec::new();
    for number in 0..2_500_u32 {
        sealed.push(keys.seal(&REQUEST, &RECORD, &number.to_be_bytes()).await.unwrap());
    }
    let mut uses = std::collections::BTreeMap::new();
    for envelope in &sealed {
        *uses.entry(key_number(envelope).unwrap()).or_insert(0_u64) += 1;
    }
    assert!(uses.len() >= 3 && uses.values().all(|uses| *uses < 1_000), "{uses:?}");
    // By a host that has started since.
    let again = barrier(&storage, &made, bound).await;
    for (number, envelope) in (0_u32..).zip(&sealed) {
        assert_eq!(again.open(&REQUEST, &RECORD, envelope).await.unwrap().as_slice(), number.to_be_bytes());
    }
}

#[tokio::test]
async fn restarts_cannot_exceed_the_bound() {
    let storage = Disk::new(true).open().await;
    let made = cluster(&storage).await;
    let mut with_key_1 = 0;
    for _ in 0..100 {
        // A start that seals once and crashes loses the rest of its block.
        let keys = barrier(&storage, &made, UseBound::new(1_000).unwrap()).await;
        let envelope = keys.seal(&REQUEST, &RECORD, b"x").await.unwrap();
        with_key_1 += u64::from(key_number(&envelope) == Ok(1));
    }
    assert_eq!(with_key_1, 16, "as many as a key has blocks");
}

#[tokio::test]
async fn key_of_another_host_is_read_when_it_is_met() {
    let storage = Disk::new(true).open().await;
    let made = cluster(&storage).await;
    let (first, second) = (
        barrier(&storage, &made, UseBound::default()).await,
        barrier(&storage, &made, UseBound::default()).await,
    );
    assert_eq!(second.rotate(&REQUEST).await.unwrap(), 2);
    let envelope = second.seal(&REQUEST, &RECORD, b"new").await.unwrap();
    assert_eq!(key_number(&envelope), Ok(2));
    assert_eq!(first.key_use().key, 1);
    assert_eq!(first.open(&REQUEST, &RECORD, &envelope).await.unwrap().as_slice(), b"new");
    assert_eq!(first.key_use().key, 2);
    // Rotations of both are numbered one after the other.
    assert_eq!(first.rotate(&REQUEST).await.unwrap(), 3);
    assert_eq!(second.rotate(&REQUEST).await.unwrap(), 4);
}

#[tokio::test]
async fn rewound_count_retires_the_key() {
    let storage = Disk::new(true).open().await;
    let made = cluster(&storage).await;
    let keys = barrier(&storage, &made, UseBound::new(1_000).unwrap()).await;
    keys.seal(&REQUEST, &RECORD, b"x").await.unwrap();
    let early = storage.get(&REQUEST, use_of_key_1()).await.unwrap().unwrap();
    for _ in 0..100 {
        keys.seal(&REQUEST, &RECORD, b"x").await.unwrap();
    }
    storage.put(&REQUEST, Put::new(use_of_key_1(), early.value())).await.unwrap();
    for _ in 0..100 {
        keys.seal(&REQUEST, &RECORD, b"x").await.unwrap();
    }
    assert_eq!(keys.key_use().key, 2);
}

#[tokio::test]
async fn altered_count_is_refused_and_named() {
    let storage = Disk::new(true).open().await;
    let made = cluster(&storage).await;
    let keys = barrier(&storage, &made, UseBound::default()).await;
    keys.seal(&REQUEST, &RECORD, b"x").await.unwrap();
    storage.put(&REQUEST, Put::new(use_of_key_1(), b"0")).await.unwrap();
    let again = barrier(&storage, &made, UseBound::default()).await;
    let error = again.seal(&REQUEST, &RECORD, b"x").await.unwrap_err();
    assert!(matches!(error, BarrierError::UseRecord { key: 1, .. }), "{error}");
}

#[tokio::test]
async fn crash_at_every_step_of_a_rotation_leaves_keys_that_open_everything() {
    for done in [false, true] {
        for at in 0.. {
            let disk = Disk::new(true);
            let storage = disk.open().await;
            let made = cluster(&storage).await;
            let keys = barrier(&storage, &made, UseBound::default()).await;
            let before = keys.seal(&REQUEST, &RECORD, b"before").await.unwrap();
            disk.play(Script::Crash { at, done });
            let rotated = keys.rotate(&REQUEST).await;
            let after = keys.seal(&REQUEST, &RECORD, b"after").await;
            let steps = disk.changes();
            disk.play(Script::Well);
            let again = barrier(&storage, &made, UseBound::default()).await;
            assert_eq!(again.open(&REQUEST, &RECORD, &before).await.unwrap().as_slice(), b"before");
            if let Ok(after) = after {
                assert_eq!(again.open(&REQUEST, &RECORD, &after).await.unwrap().as_slice(), b"after");
            }
            if rotated.is_ok() {
                assert_eq!(again.key_use().key, 2);
            }
            again.seal(&REQUEST, &RECORD, b"x").await.unwrap();
            if steps <= at {
                assert!(at >= 2, "a rotation and a reservation are two steps");
                break;
            }
        }
    }
}

#[tokio::test]
async fn crash_at_every_step_of_an_initialisation_can_be_repeated_or_is_done() {
    let counts = ShareCounts::new(3, 2).unwrap();
    for batches in [true, false] {
        for done in [false, true] {
            for at in 0.. {
                let disk = Disk::new(batches);
                let storage = disk.open().await;
                disk.play(Script::Crash { at, done });
                let first = initialise(&storage, &REQUEST, counts, false).await;
                let steps = disk.changes();
                disk.play(Script::Well);
                let left = SealRecord::load(&storage, &REQUEST).await.unwrap();
                let made = match (first, &left) {
                    (Ok(made), Some(_)) => made,
                    (Ok(_), None) => unreachable!("it said that it was done"),
                    (Err(_), None) => initialise(&storage, &REQUEST, counts, false).await.unwrap(),
                    (Err(_), Some(left)) => {
                        let refused = initialise(&storage, &REQUEST, counts, false).await;
                        assert!(refused.is_err(), "only by the word");
                        let made = initialise(&storage, &REQUEST, counts, true).await.unwrap();
                        assert_eq!(made.cluster, left.cluster_id, "no second cluster");
                        made
                    }
                };
                let keys = barrier(&storage, &made, UseBound::default()).await;
                forget_unopenable(&keys, &REQUEST).await.unwrap();
                let tokens = Tokens::new(&keys, &REQUEST, Arc::default());
                assert!(tokens.lookup(&made.root_token).await.unwrap().unwrap().entry.is_root());
                let tokens = keyway_loader::Scan::prefix("keyway-system", b"token/");
                assert_eq!(
                    storage.scan(&REQUEST, tokens).await.unwrap().len(),
                    1,
                    "tokens of former attempts"
                );
                if steps <= at {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn initialisation_is_repeated_only_until_somebody_has_unsealed() {
    let storage = Disk::new(true).open().await;
    let counts = ShareCounts::new(1, 1).unwrap();
    let first = cluster(&storage).await;
    let second = initialise(&storage, &REQUEST, counts, true).await.unwrap();
    assert_eq!(first.cluster, second.cluster);
    let (record, version) = SealRecord::load_versioned(&storage, &REQUEST).await.unwrap().unwrap();
    assert!(!record.knows(&first.shares[0]) && record.knows(&second.shares[0]));
    record.confirmed().replace(&storage, &REQUEST, version).await.unwrap();
    assert!(initialise(&storage, &REQUEST, counts, true).await.is_err());
}
