//! Other keys in the place of the unseal key and the root key: at no step does a store lose its keys, and one
//! set of shares opens it.

use std::{sync::Arc, time::Duration};

use keyway_core::{
    barrier::{Barrier, BarrierError, UseBound},
    seal::{NextKeys, SealRecord},
};
use keyway_crypto::{
    envelope::RecordKind,
    key::SecretKey,
    keyring::Record,
    shares::{Share, split},
};
use keyway_storage::Storage;

use crate::chaos::{Disk, REQUEST, Script, barrier, cluster};

const RECORD: Record<'static> =
    Record { mount: uuid::Uuid::nil(), kind: RecordKind::Token, key: b"token/x", version: 0 };

fn next_keys() -> NextKeys {
    let (unseal, root) = (SecretKey::random().unwrap(), SecretKey::random().unwrap());
    NextKeys { shares: split(&unseal, 3, 2), threshold: 2, unseal, root }
}

/// The barrier that these shares open; none if they do not.
async fn opened(storage: &Storage, shares: &[Share]) -> Option<Barrier> {
    let record = SealRecord::load(storage, &REQUEST).await.unwrap().unwrap();
    let known = shares.iter().all(|share| record.knows(share));
    let unlocked = record.unlock(shares).filter(|_| known)?;
    Some(Barrier::new(storage.clone(), unlocked, UseBound::default()))
}

#[tokio::test]
async fn crash_at_every_step_of_a_rekeying_leaves_one_set_of_shares_that_opens_everything() {
    for done in [false, true] {
        for at in 0.. {
            let disk = Disk::new(true);
            let storage = disk.open().await;
            let made = cluster(&storage).await;
            let keys = barrier(&storage, &made, UseBound::default()).await;
            let before = keys.seal(&REQUEST, &RECORD, b"before").await.unwrap();
            let next = next_keys();
            disk.play(Script::Crash { at, done });
            let rekeyed = keys.rekey(&REQUEST, &next).await;
            let after = keys.seal(&REQUEST, &RECORD, b"after").await;
            let steps = disk.changes();
            disk.play(Script::Well);
            let (old, new) =
                (opened(&storage, &made.shares).await, opened(&storage, &next.shares[1..]).await);
            assert!(old.is_some() != new.is_some(), "one set, and one alone ({at}, {done})");
            assert!(rekeyed.is_err() || new.is_some(), "it said that it was done");
            let again = old.or(new).unwrap();
            assert_eq!(again.open(&REQUEST, &RECORD, &before).await.unwrap().as_slice(), b"before");
            if let Ok(after) = after {
                assert_eq!(again.open(&REQUEST, &RECORD, &after).await.unwrap().as_slice(), b"after");
            }
            let sealed = again.seal(&REQUEST, &RECORD, b"x").await.unwrap();
            // A host that does not know the outcome asks again, learns it, and goes on with the stored keys.
            keys.rekey(&REQUEST, &next).await.unwrap();
            assert_eq!(keys.open(&REQUEST, &RECORD, &sealed).await.unwrap().as_slice(), b"x");
            assert!(opened(&storage, &made.shares).await.is_none());
            if steps <= at {
                assert!(at >= 1, "a rekeying is a step");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_writers_lose_nothing_while_keys_are_rotated_and_replaced() {
    let storage = Disk::new(true).open().await;
    let made = cluster(&storage).await;
    let keys = Arc::new(barrier(&storage, &made, UseBound::new(1_000).unwrap()).await);
    let writers: Vec<_> = (0..64)
        .map(|_| {
            let keys = Arc::clone(&keys);
            tokio::spawn(async move {
                let mut sealed = Vec::new();
                for _ in 0..50 {
                    sealed.push(keys.seal(&REQUEST, &RECORD, b"written").await.unwrap());
                    tokio::task::yield_now().await;
                }
                sealed
            })
        })
        .collect();
    let mut shares = Vec::new();
    for _ in 0..5 {
        keys.rotate(&REQUEST).await.unwrap();
        let next = next_keys();
        keys.rekey(&REQUEST, &next).await.unwrap();
        shares = next.shares;
        tokio::task::yield_now().await;
    }
    let mut sealed = Vec::new();
    for writer in writers {
        sealed.extend(writer.await.unwrap());
    }
    let again = opened(&storage, &shares[..2]).await.unwrap();
    for sealed in &sealed {
        assert_eq!(again.open(&REQUEST, &RECORD, sealed).await.unwrap().as_slice(), b"written");
    }
    assert_eq!(sealed.len(), 64 * 50);
    assert!(opened(&storage, &made.shares).await.is_none());
}

#[tokio::test]
async fn key_that_is_too_old_is_rotated_and_by_one_host_alone() {
    let storage = Disk::new(true).open().await;
    let made = cluster(&storage).await;
    let one = barrier(&storage, &made, UseBound::default()).await;
    let other = barrier(&storage, &made, UseBound::default()).await;
    let (day, no_time) = (Duration::from_secs(86_400), Duration::ZERO);
    assert!(!one.rotate_older_than(&REQUEST, day).await.unwrap());
    assert!(one.rotate_older_than(&REQUEST, no_time).await.unwrap());
    assert_eq!((one.key_use().key, other.key_use().key), (2, 1));
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    // The other host still holds the first key, and finds one that was made just now.
    assert!(one.rotate_older_than(&REQUEST, Duration::from_secs(2)).await.unwrap());
    assert!(!other.rotate_older_than(&REQUEST, Duration::from_secs(2)).await.unwrap());
    assert_eq!((one.key_use().key, other.key_use().key), (3, 3));
}

#[tokio::test]
async fn another_host_is_told_that_the_keys_are_others() {
    let storage = Disk::new(true).open().await;
    let made = cluster(&storage).await;
    let one = barrier(&storage, &made, UseBound::default()).await;
    let other = barrier(&storage, &made, UseBound::default()).await;
    let next = next_keys();
    one.rekey(&REQUEST, &next).await.unwrap();
    let sealed = one.seal(&REQUEST, &RECORD, b"x").await.unwrap();
    let error = other.open(&REQUEST, &RECORD, &sealed).await.unwrap_err();
    assert!(matches!(error, BarrierError::Rekeyed), "{error}");
    let error = other.rotate(&REQUEST).await.unwrap_err();
    assert!(matches!(error, BarrierError::Rekeyed), "{error}");
    let error = other.rekey(&REQUEST, &next_keys()).await.unwrap_err();
    assert!(matches!(error, BarrierError::Rekeyed), "{error}");
}
