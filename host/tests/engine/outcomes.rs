//! Changes over a backend that does not always know what it has done.

use std::sync::Arc;

use keyway::{
    seal::{SealRecord, ShareCounts, initialise},
    secrets::{Content, Engine, EngineError, Read, SecretPath, Write, Written},
    storage::Storage,
};
use keyway_loader::Scan;

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
        let engine = Engine::new(&barrier, &mount, &storage, REQUEST);
        let path = SecretPath::parse("a").unwrap();
        let write = Write { content: Content::Whole(b"{\"n\":1}"), cas: Some(0) };
        let Written::Done(written) = engine.write(&path, &write).await.unwrap() else { unreachable!() };
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
    let engine = Engine::new(&barrier, &mount, &storage, REQUEST);
    let path = SecretPath::parse("a").unwrap();
    let error = engine.write(&path, &Write { content: Content::Whole(b"{}"), cas: None }).await.unwrap_err();
    assert!(matches!(&error, EngineError::Storage(error) if error.is_unknown()), "{error}");
}

#[tokio::test]
async fn removal_of_unknown_outcome_leaves_no_version_behind() {
    let (storage, mount) = (storage(Script::DeletionDone).await, mount(100));
    let barrier = some_barrier().await;
    let engine = Engine::new(&barrier, &mount, &storage, REQUEST);
    let path = SecretPath::parse("a").unwrap();
    for _ in 0..3 {
        engine.write(&path, &Write { content: Content::Whole(b"{}"), cas: None }).await.unwrap();
    }
    let keyspace = mount.keyspace();
    let count = async || storage.scan(REQUEST, Scan::prefix(&keyspace, b"")).await.unwrap().len();
    assert_eq!(count().await, 3, "the metadata with the current version, and two older ones");
    engine.remove(&path).await.unwrap();
    engine.sweep(true).await.unwrap();
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn initialisation_of_unknown_outcome_gives_the_shares_that_unlock() {
    for fault in [Script::FirstDone, Script::FirstLost] {
        let storage = storage(fault).await;
        let made = initialise(&storage, REQUEST, ShareCounts::new(3, 2).unwrap(), false).await.unwrap();
        let record = SealRecord::load(&storage, REQUEST).await.unwrap().unwrap();
        assert!(record.unlock(&made.shares).is_some(), "{fault:?}");
    }
    let lost = storage(Script::AllLost).await;
    assert!(initialise(&lost, REQUEST, ShareCounts::new(3, 2).unwrap(), false).await.is_err());
    assert!(SealRecord::load(&lost, REQUEST).await.unwrap().is_none());
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
                let engine = Engine::new(&barrier, &mount, &storage, REQUEST);
                let value = format!("{{\"writer\":{writer}}}");
                let path = SecretPath::parse("shared").unwrap();
                let write = Write { content: Content::Whole(value.as_bytes()), cas: None };
                let Written::Done(found) = engine.write(&path, &write).await.unwrap() else { unreachable!() };
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
    let engine = Engine::new(&barrier, &mount, &storage, REQUEST);
    for version in versions {
        let read = engine.read(&SecretPath::parse("shared").unwrap(), Some(version)).await.unwrap();
        assert!(matches!(read, Read::Value(..)), "version {version}");
    }
}
