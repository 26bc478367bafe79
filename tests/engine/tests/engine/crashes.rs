//! A crash at every step of every change of a secret, with and without atomic batches: before the step
//! happens, and after it has happened unanswered. Then everything acknowledged is there, everything listed
//! can be read, and after a sweep nothing is left that nothing refers to.

use std::collections::BTreeMap;

use keyway_core::{
    barrier::Barrier,
    mounts::Mount,
    secrets::{
        Content, Engine, EngineError, Fate, FolderPath, Part, Read, SecretPath, Which, Write, WriteResult,
    },
};
use keyway_loader::{Key, Put, Scan};
use keyway_storage::Storage;

use crate::chaos::{Disk, REQUEST, Script, mount, some_barrier};

const KEPT: u32 = 3;

/// The change of the secret during which the machine crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Write,
    Patch,
    Delete,
    Undelete,
    Destroy,
    Remove,
}

const ALL: [Doing; 6] =
    [Doing::Write, Doing::Patch, Doing::Delete, Doing::Undelete, Doing::Destroy, Doing::Remove];

fn path() -> SecretPath {
    SecretPath::parse("app/db").unwrap()
}

async fn write(engine: &Engine<'_>, number: u64) -> Result<u64, EngineError> {
    let value = format!("{{\"n\":{number}}}");
    let write = Write { content: Content::Whole(value.as_bytes()), cas: None };
    let WriteResult::Done(found) = engine.write(&path(), &write).await? else {
        unreachable!("a whole value")
    };
    Ok(found.version)
}

async fn act(engine: &Engine<'_>, doing: Doing) -> Result<(), EngineError> {
    let path = path();
    match doing {
        Doing::Write => write(engine, 5).await.map(|_| ()),
        Doing::Patch => {
            let patch = Write { content: Content::Patch(b"{\"n\":5}"), cas: Some(4) };
            engine.write(&path, &patch).await.map(|_| ())
        }
        Doing::Delete => engine.alter(&path, Which::These(&[3, 4]), Fate::Delete).await,
        Doing::Undelete => engine.alter(&path, Which::These(&[2]), Fate::Undelete).await,
        Doing::Destroy => engine.alter(&path, Which::These(&[3, 4]), Fate::Destroy).await,
        Doing::Remove => engine.remove(&path).await,
    }
}

/// The numbers of the versions that can be read, each of which has its value.
async fn readable(engine: &Engine<'_>) -> BTreeMap<u64, bool> {
    let Some(metadata) = engine.metadata(&path()).await.unwrap() else { return BTreeMap::new() };
    let mut versions = BTreeMap::new();
    for number in metadata.versions.keys() {
        let readable = match engine.read(&path(), Some(*number)).await.unwrap() {
            Read::Value(found, value) => {
                assert_eq!(value.as_slice(), format!("{{\"n\":{}}}", found.version).as_bytes());
                true
            }
            Read::Deleted(_) => false,
            Read::Missing => unreachable!("version {number} is in the metadata"),
        };
        versions.insert(*number, readable);
    }
    versions
}

async fn records(storage: &Storage, mount: &Mount) -> usize {
    storage.scan(&REQUEST, Scan::prefix(&mount.keyspace(), b"")).await.unwrap().len()
}

/// As `records`, without a copy of the current version where the next write will move it aside to.
async fn left_over(storage: &Storage, mount: &Mount, engine: &Engine<'_>) -> usize {
    let current = engine.metadata(&path()).await.unwrap().map_or(0, |metadata| metadata.current_version);
    let prefix = [b"v/app/db\0".as_slice(), &current.to_be_bytes()].concat();
    let copies = storage.scan(&REQUEST, Scan::prefix(&mount.keyspace(), &prefix)).await.unwrap().len();
    records(storage, mount).await - copies
}

/// Four versions of which the last three are kept, the second of them deleted.
async fn prepare(storage: &Storage, barrier: &Barrier, mount: &Mount) {
    let engine = Engine::new(barrier, mount, storage, &REQUEST);
    for number in 1..=4 {
        assert_eq!(write(&engine, number).await.unwrap(), number);
    }
    engine.alter(&path(), Which::These(&[2]), Fate::Delete).await.unwrap();
}

fn expected(doing: Doing, done: bool) -> BTreeMap<u64, bool> {
    let before = [(2, false), (3, true), (4, true)];
    let after: &[(u64, bool)] = match doing {
        _ if !done => &before,
        Doing::Write | Doing::Patch => &[(3, true), (4, true), (5, true)],
        Doing::Delete | Doing::Destroy => &[(2, false), (3, false), (4, false)],
        Doing::Undelete => &[(2, true), (3, true), (4, true)],
        Doing::Remove => &[],
    };
    after.iter().copied().collect()
}

/// How many records there are when nothing is left over: metadata with the current version, and each older value.
fn count(doing: Doing, done: bool) -> usize {
    match doing {
        Doing::Remove if done => 0,
        Doing::Destroy if done => 2,
        _ => 3,
    }
}

async fn crash(doing: Doing, batches: bool, at: u64, done: bool) -> u64 {
    let case = format!("{doing:?}, batches {batches}, step {at}, done {done}");
    let (disk, barrier, mount) = (Disk::new(batches), some_barrier().await, mount(KEPT));
    let storage = disk.open().await;
    prepare(&storage, &barrier, &mount).await;
    disk.play(Script::Crash { at, done });
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    let answered = act(&engine, doing).await;
    let steps = disk.changes();
    disk.play(Script::Well);
    let storage = disk.open().await;
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    let left = readable(&engine).await;
    if answered.is_ok() {
        assert_eq!(left, expected(doing, true), "acknowledged: {case}");
    }
    let happened = left == expected(doing, true);
    assert!(happened || left == expected(doing, false), "half: {left:?}, {case}");
    engine.sweep(true).await.unwrap();
    let destroyed = happened && matches!(doing, Doing::Destroy | Doing::Remove);
    if batches || destroyed {
        assert_eq!(records(&storage, &mount).await, count(doing, happened), "left over: {case}");
    }
    assert_eq!(left_over(&storage, &mount, &engine).await, count(doing, happened), "left over: {case}");
    assert_eq!(readable(&engine).await, left, "swept too much: {case}");
    // And it goes on.
    let next = write(&engine, 0).await;
    assert!(next.is_ok(), "{case}");
    let listed = engine.list(&FolderPath::parse("app").unwrap(), Part::default()).await.unwrap();
    assert_eq!(listed, ["db"], "{case}");
    engine.remove(&path()).await.unwrap();
    assert_eq!(records(&storage, &mount).await, 0, "left for ever: {case}");
    steps
}

#[tokio::test]
async fn crash_at_every_step_of_every_change_leaves_all_or_nothing() {
    for doing in ALL {
        for batches in [true, false] {
            for done in [false, true] {
                let mut longest = 0;
                for at in 0.. {
                    let steps = crash(doing, batches, at, done).await;
                    longest = longest.max(steps);
                    if steps <= at {
                        break;
                    }
                }
                let several = !batches && !matches!(doing, Doing::Delete | Doing::Undelete);
                assert!(longest >= if several { 4 } else { 1 }, "{doing:?} has steps: {longest}");
            }
        }
    }
}

#[tokio::test]
async fn young_intent_of_another_is_left_alone_and_an_abandoned_one_is_swept() {
    let (disk, barrier, mount) = (Disk::new(false), some_barrier().await, mount(KEPT));
    let storage = disk.open().await;
    prepare(&storage, &barrier, &mount).await;
    // The intent, and then silence.
    disk.play(Script::Crash { at: 1, done: false });
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    assert!(engine.remove(&path()).await.is_err());
    disk.play(Script::Well);
    let young = engine.sweep(false).await.unwrap();
    assert_eq!((young.done, young.left), (0, 1));
    // As if it had begun at the epoch.
    let (keyspace, intents) = (mount.keyspace(), b"g/");
    let page = storage.scan(&REQUEST, Scan::prefix(&keyspace, intents)).await.unwrap();
    let intent = Key::new(&keyspace, page.entries()[0].key());
    storage.put(&REQUEST, Put::new(intent, &0_u64.to_be_bytes())).await.unwrap();
    let abandoned = engine.sweep(false).await.unwrap();
    assert_eq!((abandoned.done, abandoned.left), (1, 0));
}

#[tokio::test]
async fn batch_that_is_too_large_is_made_in_steps() {
    const VERSIONS: u64 = 20;
    let (disk, barrier, mount) = (Disk::with_batches_of(8), some_barrier().await, mount(100));
    let storage = disk.open().await;
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    for number in 1..=VERSIONS {
        write(&engine, number).await.unwrap();
    }
    disk.play(Script::Well);
    engine.remove(&path()).await.unwrap();
    assert!(disk.changes() > 2, "more than one batch");
    assert_eq!(records(&storage, &mount).await, 0);
}
