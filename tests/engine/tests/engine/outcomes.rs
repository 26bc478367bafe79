//! Changes over a backend that does not always know what it has done.

use std::sync::Arc;

use keyway_core::{
    seal::{SealRecord, ShareCounts, initialise},
    secrets::{Content, Engine, EngineError, Fate, Metadata, Read, SecretPath, Which, Write, WriteResult},
};
use keyway_loader::Scan;
use keyway_storage::Storage;

use crate::chaos::{Disk, REQUEST, Script, mount, some_barrier};

async fn storage(script: Script) -> Storage {
    let disk = Disk::new(false);
    disk.play(script);
    disk.open().await
}

#[tokio::test]
async fn write_of_unknown_outcome_is_looked_up_and_written_once() {
    for fault in [Script::FirstDone, Script::FirstLost] {
        let (storage, mount) = (storage(fault).await, mount(100));
        let barrier = some_barrier().await;
        let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
        let path = SecretPath::parse("a").unwrap();
        let write = Write { content: Content::Whole(b"{\"n\":1}"), cas: Some(0) };
        let WriteResult::Done(written) = engine.write(&path, &write).await.unwrap() else { unreachable!() };
        assert_eq!(written.version, 1, "{fault:?}");
        let metadata = engine.metadata(&path).await.unwrap().unwrap();
        assert_eq!((metadata.current_version, metadata.versions.len()), (1, 1), "{fault:?}");
        let Read::Value(found, value) = engine.read(&path, None).await.unwrap() else {
            unreachable!("{fault:?}: the secret is missing")
        };
        assert_eq!((found.version, value.as_slice()), (1, &b"{\"n\":1}"[..]), "{fault:?}");
    }
}

#[tokio::test]
async fn write_whose_outcome_stays_unknown_says_so() {
    let (storage, mount) = (storage(Script::AllLost).await, mount(100));
    let barrier = some_barrier().await;
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    let path = SecretPath::parse("a").unwrap();
    let error = engine.write(&path, &Write { content: Content::Whole(b"{}"), cas: None }).await.unwrap_err();
    assert!(matches!(&error, EngineError::Storage(error) if error.is_unknown()), "{error}");
    // Which operation failed on which backend.
    assert!(error.to_string().starts_with("put on backend \"main\": "), "{error}");
}

#[tokio::test]
async fn removal_of_unknown_outcome_leaves_no_version_behind() {
    let (storage, mount) = (storage(Script::DeletionDone).await, mount(100));
    let barrier = some_barrier().await;
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    let path = SecretPath::parse("a").unwrap();
    for _ in 0..3 {
        engine.write(&path, &Write { content: Content::Whole(b"{}"), cas: None }).await.unwrap();
    }
    let keyspace = mount.keyspace();
    let count = async || storage.scan(&REQUEST, Scan::prefix(&keyspace, b"")).await.unwrap().len();
    assert_eq!(count().await, 3, "the metadata with the current version, and two older ones");
    engine.remove(&path).await.unwrap();
    engine.sweep(true).await.unwrap();
    assert_eq!(count().await, 0);
}

/// The change is made, and its answer lost; before it is tried again, another client does `then`.
async fn lost_and_then<T>(
    change: impl Future<Output = Result<T, EngineError>>,
    engine: &Engine<'_>,
    path: &SecretPath,
    made: impl Fn(Option<&Metadata>) -> bool,
    then: impl Future<Output = ()>,
) -> Result<T, EngineError> {
    let other = async {
        while !made(engine.metadata(path).await.unwrap().as_ref()) {
            tokio::task::yield_now().await;
        }
        then.await;
    };
    tokio::join!(change, other).0
}

async fn put(engine: &Engine<'_>, path: &SecretPath, value: &[u8]) -> u64 {
    let write = Write { content: Content::Whole(value), cas: None };
    let WriteResult::Done(found) = engine.write(path, &write).await.unwrap() else { unreachable!() };
    found.version
}

async fn value(engine: &Engine<'_>, path: &SecretPath) -> Vec<u8> {
    let Read::Value(_, value) = engine.read(path, None).await.unwrap() else { unreachable!("it is gone") };
    value.to_vec()
}

#[tokio::test]
async fn secret_that_was_made_anew_after_a_removal_of_unknown_outcome_stays() {
    for batches in [true, false] {
        let (disk, mount, barrier) = (Disk::new(batches), mount(100), some_barrier().await);
        let storage = disk.open().await;
        let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
        let path = SecretPath::parse("a").unwrap();
        put(&engine, &path, b"{\"old\":1}").await;
        disk.play(Script::DeletionDone);
        let made_again = async { assert_eq!(put(&engine, &path, b"{\"new\":1}").await, 1) };
        let gone = |metadata: Option<&Metadata>| metadata.is_none();
        lost_and_then(engine.remove(&path), &engine, &path, gone, made_again).await.unwrap();
        assert_eq!(value(&engine, &path).await, b"{\"new\":1}");
    }
}

#[tokio::test]
async fn version_that_was_written_after_a_deletion_of_unknown_outcome_stays() {
    let (disk, mount, barrier) = (Disk::new(true), mount(100), some_barrier().await);
    let storage = disk.open().await;
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    let path = SecretPath::parse("a").unwrap();
    put(&engine, &path, b"{\"n\":1}").await;
    disk.play(Script::FirstDone);
    let newer = async { assert_eq!(put(&engine, &path, b"{\"n\":2}").await, 2) };
    let deleted = |metadata: Option<&Metadata>| {
        metadata.and_then(Metadata::current).is_some_and(|version| !version.deletion_time.is_empty())
    };
    let deletion = engine.alter(&path, Which::Current, Fate::Delete);
    let answered = lost_and_then(deletion, &engine, &path, deleted, newer).await;
    assert!(matches!(&answered, Err(EngineError::Storage(error)) if error.is_unknown()), "{answered:?}");
    assert_eq!(value(&engine, &path).await, b"{\"n\":2}");
}

#[tokio::test]
async fn write_of_unknown_outcome_neither_returns_over_a_newer_one_nor_brings_back_a_removed_secret() {
    for removes in [false, true] {
        // One version is kept, so that the newer one takes the traces of the older one away.
        let (disk, mount, barrier) = (Disk::new(true), mount(1), some_barrier().await);
        let storage = disk.open().await;
        let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
        let path = SecretPath::parse("a").unwrap();
        put(&engine, &path, b"{\"n\":1}").await;
        disk.play(Script::FirstDone);
        let then = async {
            if removes {
                engine.remove(&path).await.unwrap();
            } else {
                assert_eq!(put(&engine, &path, b"{\"n\":3}").await, 3);
            }
        };
        let made =
            |metadata: Option<&Metadata>| metadata.is_some_and(|metadata| metadata.current_version == 2);
        let write = Write { content: Content::Whole(b"{\"n\":2}"), cas: None };
        let answered = lost_and_then(engine.write(&path, &write), &engine, &path, made, then).await;
        assert!(matches!(&answered, Err(EngineError::Storage(error)) if error.is_unknown()), "{answered:?}");
        if removes {
            assert!(engine.metadata(&path).await.unwrap().is_none());
        } else {
            assert_eq!(value(&engine, &path).await, b"{\"n\":3}");
        }
    }
}

#[tokio::test]
async fn initialisation_of_unknown_outcome_gives_the_shares_that_unlock() {
    for fault in [Script::FirstDone, Script::FirstLost] {
        let storage = storage(fault).await;
        let made = initialise(&storage, &REQUEST, ShareCounts::new(3, 2).unwrap(), false).await.unwrap();
        let record = SealRecord::load(&storage, &REQUEST).await.unwrap().unwrap();
        assert!(record.unlock(&made.shares).is_some(), "{fault:?}");
    }
    let lost = storage(Script::AllLost).await;
    assert!(initialise(&lost, &REQUEST, ShareCounts::new(3, 2).unwrap(), false).await.is_err());
    assert!(SealRecord::load(&lost, &REQUEST).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_without_batches_lose_no_version() {
    const WRITERS: u64 = 16;
    let storage = Arc::new(storage(Script::Well).await);
    let barrier = Arc::new(some_barrier().await);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (storage, barrier) = (Arc::clone(&storage), Arc::clone(&barrier));
            tokio::spawn(async move {
                let mount = mount(100);
                let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
                let value = format!("{{\"writer\":{writer}}}");
                let path = SecretPath::parse("shared").unwrap();
                let write = Write { content: Content::Whole(value.as_bytes()), cas: None };
                let WriteResult::Done(found) = engine.write(&path, &write).await.unwrap() else {
                    unreachable!()
                };
                found.version
            })
        })
        .collect();
    let mut versions = Vec::new();
    for writer in writers {
        versions.push(writer.await.unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=WRITERS).collect::<Vec<_>>());
    let mount = mount(100);
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    for version in versions {
        let read = engine.read(&SecretPath::parse("shared").unwrap(), Some(version)).await.unwrap();
        assert!(matches!(read, Read::Value(..)), "version {version}");
    }
}
