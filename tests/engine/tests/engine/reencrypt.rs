//! Re-encryption: a crash at every step, concurrent writers, and every kind of record.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use keyway_core::{
    barrier::{Barrier, UseBound},
    mounts::Mount,
    secrets::{Content, Engine, Fate, Read, SecretPath, Which, Write, WriteResult},
    system::{New, Records},
};
use keyway_crypto::envelope::{RecordKind, key_number};
use keyway_loader::{Condition, Scan};
use keyway_storage::Storage;

use crate::chaos::{Disk, REQUEST, Script, barrier, cluster, mount, some_barrier};

fn path(name: &str) -> SecretPath {
    SecretPath::parse(name).unwrap()
}

async fn write(engine: &Engine<'_>, name: &str, number: u64, cas: Option<u64>) -> u64 {
    let value = format!("{{\"n\":{number}}}");
    let write = Write { content: Content::Whole(value.as_bytes()), cas };
    match engine.write(&path(name), &write).await.unwrap() {
        WriteResult::Done(found) => found.version,
        other => unreachable!("{other:?}"),
    }
}

/// Five versions: the second deleted, the third destroyed.
async fn prepare(engine: &Engine<'_>) {
    for number in 1..=5 {
        assert_eq!(write(engine, "a", number, None).await, number);
    }
    engine.alter(&path("a"), Which::These(&[2]), Fate::Delete).await.unwrap();
    engine.alter(&path("a"), Which::These(&[3]), Fate::Destroy).await.unwrap();
}

/// What `prepare` has made is there, and nothing else.
async fn check(engine: &Engine<'_>, case: &str) {
    for number in 1..=5 {
        let read = engine.read(&path("a"), Some(number)).await.unwrap();
        match (number, read) {
            (2 | 3, Read::Deleted(found)) => assert_eq!(found.metadata.destroyed, number == 3, "{case}"),
            (_, Read::Value(_, value)) => {
                assert_eq!(value.as_slice(), format!("{{\"n\":{number}}}").as_bytes(), "{case}");
            }
            _ => unreachable!("version {number}: {case}"),
        }
    }
}

/// The numbers of the keys that the records of a mount are sealed with: of the values, and of the metadata
/// around them.
async fn keys(storage: &Storage, mount: &Mount) -> Vec<u32> {
    let keyspace = mount.keyspace();
    let page = storage.scan(&REQUEST, Scan::prefix(&keyspace, b"")).await.unwrap();
    let mut keys = Vec::new();
    for entry in page.entries() {
        let value = entry.record().value();
        if !entry.key().starts_with(b"m/") {
            keys.push(key_number(value).unwrap());
            continue;
        }
        // The format, the length of the sealed metadata, the metadata, the value.
        let length = u32::from_be_bytes(value[1..5].try_into().unwrap()) as usize;
        keys.push(key_number(&value[5..]).unwrap());
        keys.push(key_number(&value[5 + length..]).unwrap());
    }
    keys
}

async fn crash(batches: bool, at: u64, done: bool) -> u64 {
    let case = format!("batches {batches}, step {at}, done {done}");
    let (disk, barrier, mount) = (Disk::new(batches), some_barrier().await, mount(10));
    let storage = disk.open().await;
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    prepare(&engine).await;
    assert_eq!(barrier.rotate(&REQUEST).await.unwrap(), 2);
    disk.play(Script::Crash { at, done });
    let reencrypted = engine.reencrypt(2, b"").await;
    let steps = disk.changes();
    disk.play(Script::Well);
    let storage = disk.open().await;
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    check(&engine, &case).await;
    if steps <= at {
        let done = reencrypted.unwrap();
        assert_eq!((done.seen, done.failed, done.next), (1, 0, None), "{case}");
        // The current version with the metadata, and versions 1, 2 and 4.
        assert_eq!(done.sealed, 4, "{case}");
    }
    // Done again, to its end, and swept: nothing is sealed with the former key, and nothing is left over.
    let again = engine.reencrypt(2, b"").await.unwrap();
    assert_eq!((again.seen, again.failed), (1, 0), "{case}");
    check(&engine, &case).await;
    engine.sweep(true).await.unwrap();
    check(&engine, &case).await;
    assert_eq!(keys(&storage, &mount).await, [2; 5], "{case}");
    assert_eq!(engine.reencrypt(2, b"").await.unwrap().sealed, 0, "{case}");
    assert_eq!(write(&engine, "a", 6, Some(5)).await, 6, "{case}");
    steps
}

#[tokio::test]
async fn crash_at_every_step_of_a_reencryption_leaves_everything_readable() {
    for batches in [true, false] {
        for done in [false, true] {
            for at in 0.. {
                let steps = crash(batches, at, done).await;
                if steps <= at {
                    assert!(steps >= if batches { 4 } else { 10 }, "{steps} steps");
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn secrets_without_versions_are_sealed_anew_in_parts() {
    let (disk, barrier) = (Disk::new(true), some_barrier().await);
    let mount = Mount { kv_version: 1, ..mount(10) };
    let storage = disk.open().await;
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    for number in 0..250 {
        let value = format!("{{\"n\":{number}}}");
        engine.write_plain(&path(&format!("s{number:03}")), value.as_bytes()).await.unwrap();
    }
    assert_eq!(barrier.rotate(&REQUEST).await.unwrap(), 2);
    engine.write_plain(&path("s249"), b"{\"n\":249}").await.unwrap();
    let (mut after, mut sealed, mut parts) = (Vec::new(), 0, 0);
    loop {
        let part = engine.reencrypt(2, &after).await.unwrap();
        (sealed, parts) = (sealed + part.sealed, parts + 1);
        match part.next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!((sealed, parts), (249, 3));
    assert!(keys(&storage, &mount).await.iter().all(|key| *key == 2));
    let read = engine.read_plain(&path("s007")).await.unwrap().unwrap();
    assert_eq!(read.as_slice(), b"{\"n\":7}");
}

#[tokio::test]
async fn damaged_secret_is_counted_and_the_others_are_sealed_anew() {
    let (disk, barrier, mount) = (Disk::new(true), some_barrier().await, mount(10));
    let storage = disk.open().await;
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    for name in ["a", "b", "c"] {
        write(&engine, name, 1, None).await;
    }
    barrier.rotate(&REQUEST).await.unwrap();
    let (keyspace, key) = (mount.keyspace(), b"m/b");
    let place = keyway_loader::Key::new(&keyspace, key);
    let mut bytes = storage.get(&REQUEST, place).await.unwrap().unwrap().value().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    storage.put(&REQUEST, keyway_loader::Put::new(place, &bytes)).await.unwrap();
    let done = engine.reencrypt(2, b"").await.unwrap();
    // Of the damaged one, the metadata.
    assert_eq!((done.seen, done.sealed, done.failed), (3, 3, 1));
    let after = storage.get(&REQUEST, place).await.unwrap().unwrap();
    assert_eq!(after.value().last(), bytes.last(), "the value that cannot be opened stays as it is");
    assert!(engine.read(&path("b"), None).await.is_err());
}

/// Some version of a secret is damaged: the others are sealed again all the same.
#[tokio::test]
async fn damaged_version_keeps_no_other_on_the_old_key() {
    for damaged in [1, 4] {
        let (disk, barrier, mount) = (Disk::new(true), some_barrier().await, mount(10));
        let storage = disk.open().await;
        let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
        for number in 1..=5 {
            write(&engine, "a", number, None).await;
        }
        barrier.rotate(&REQUEST).await.unwrap();
        let keyspace = mount.keyspace();
        let prefix = [b"v/a\0".as_slice(), &u64::to_be_bytes(damaged)].concat();
        let page = storage.scan(&REQUEST, Scan::prefix(&keyspace, &prefix)).await.unwrap();
        let place = keyway_loader::Key::new(&keyspace, page.entries()[0].key());
        let mut bytes = page.entries()[0].record().value().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        storage.put(&REQUEST, keyway_loader::Put::new(place, &bytes)).await.unwrap();
        let done = engine.reencrypt(2, b"").await.unwrap();
        assert_eq!((done.seen, done.sealed, done.failed), (1, 4, 1));
        assert_eq!(keys(&storage, &mount).await.iter().filter(|key| **key == 1).count(), 1);
        assert_eq!(storage.get(&REQUEST, place).await.unwrap().unwrap().value(), bytes);
    }
}

#[tokio::test]
async fn secret_of_many_versions_is_sealed_anew_to_its_end() {
    for batches in [true, false] {
        let (disk, barrier, mount) = (Disk::new(batches), some_barrier().await, mount(500));
        let storage = disk.open().await;
        let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
        for number in 1..=200 {
            write(&engine, "a", number, None).await;
        }
        barrier.rotate(&REQUEST).await.unwrap();
        let done = engine.reencrypt(2, b"").await.unwrap();
        assert_eq!((done.seen, done.sealed, done.failed), (1, 200, 0));
        assert!(keys(&storage, &mount).await.iter().all(|key| *key == 2));
    }
}

/// A store that is away is no fault of the secrets'.
#[tokio::test]
async fn nothing_is_passed_over_while_the_keys_store_is_away() {
    let (system, disk) = (Disk::new(true), Disk::new(true));
    let system_storage = system.open().await;
    let made = cluster(&system_storage).await;
    let barrier = barrier(&system_storage, &made, UseBound::default()).await;
    let mount = Mount { kv_version: 1, ..mount(10) };
    let storage = disk.open().await;
    let engine = Engine::new(&barrier, &mount, &storage, &REQUEST);
    for number in 0..50 {
        engine.write_plain(&path(&format!("s{number}")), b"{}").await.unwrap();
    }
    barrier.rotate(&REQUEST).await.unwrap();
    system.play(Script::Fails);
    assert!(engine.reencrypt(2, b"").await.is_err());
    system.play(Script::Well);
    let done = engine.reencrypt(2, b"").await.unwrap();
    assert_eq!((done.seen, done.sealed, done.failed), (50, 50, 0));
}

/// A sweep between any two steps removes no record that is still referred to.
#[tokio::test(flavor = "multi_thread")]
async fn sweeps_beside_it_remove_nothing_that_is_needed() {
    for round in 0..8 {
        let (disk, keys) = (Disk::new(false), Arc::new(some_barrier().await));
        let storage = disk.open().await;
        let mount = mount(10);
        let engine = Engine::new(&keys, &mount, &storage, &REQUEST);
        prepare(&engine).await;
        let end = Arc::new(AtomicBool::new(false));
        disk.play(Script::Slow(std::time::Duration::from_micros(200 + 300 * round)));
        let sweeper = |all: bool| {
            let (keys, storage, end) = (Arc::clone(&keys), storage.clone(), Arc::clone(&end));
            tokio::spawn(async move {
                let mount = crate::chaos::mount(10);
                let engine = Engine::new(&keys, &mount, &storage, &REQUEST);
                while !end.load(Ordering::Relaxed) {
                    engine.sweep(all).await.unwrap();
                }
            })
        };
        let sweepers = [sweeper(true), sweeper(true), sweeper(true)];
        for key in 2..8 {
            keys.rotate(&REQUEST).await.unwrap();
            assert_eq!(engine.reencrypt(key, b"").await.unwrap().failed, 0);
        }
        end.store(true, Ordering::Relaxed);
        for sweeper in sweepers {
            sweeper.await.unwrap();
        }
        disk.play(Script::Well);
        check(&engine, &format!("round {round}")).await;
    }
}

#[tokio::test]
async fn every_kind_of_the_systems_records_is_sealed_anew_and_nothing_else() {
    let storage = Disk::new(true).open().await;
    let made = cluster(&storage).await;
    let keys = barrier(&storage, &made, UseBound::default()).await;
    let records = Records::new(&keys, &REQUEST);
    for kind in RecordKind::SYSTEM {
        let (key, value) = (format!("kind/{}", kind as u8), kind as u8);
        records.put(&New { kind, key: key.as_bytes(), value: &value }, Condition::Absent).await.unwrap();
    }
    keys.rotate(&REQUEST).await.unwrap();
    let done = records.reencrypt(2, b"").await.unwrap();
    // Those, and the root token with its accessor, which the initialisation has made.
    assert_eq!((done.sealed, done.failed, done.next), (RecordKind::SYSTEM.len() as u64 + 2, 0, None));
    for kind in RecordKind::SYSTEM {
        let key = format!("kind/{}", kind as u8);
        let held = records.get::<u8>(kind, key.as_bytes()).await.unwrap().unwrap();
        assert_eq!(held.value, kind as u8);
    }
    assert_eq!(records.reencrypt(2, b"").await.unwrap().sealed, 0);
    let again = barrier(&storage, &made, UseBound::default()).await;
    assert_eq!(again.key_use().key, 2, "the seal record is as it was");
}

/// Writers with check-and-set, rotations and re-encryptions, all at a time: no version is lost or made twice.
#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_writers_lose_nothing_while_their_secrets_are_sealed_anew() {
    const WRITES: u64 = 8;
    for batches in [true, false] {
        let (disk, keys) = (Disk::new(batches), Arc::new(some_barrier().await));
        let storage = disk.open().await;
        let end = Arc::new(AtomicBool::new(false));
        let resealing = {
            let (keys, storage, end) = (Arc::clone(&keys), storage.clone(), Arc::clone(&end));
            tokio::spawn(async move {
                let mut sealed = 0;
                while !end.load(Ordering::Relaxed) {
                    let (key, mount) = (keys.rotate(&REQUEST).await.unwrap(), mount(50));
                    let engine = Engine::new(&keys, &mount, &storage, &REQUEST);
                    sealed += engine.reencrypt(key, b"").await.unwrap().sealed;
                }
                sealed
            })
        };
        let writer = |number: u64, keys: Arc<Barrier>, storage: Storage| async move {
            let (mount, name) = (mount(50), format!("w{number}"));
            let engine = Engine::new(&keys, &mount, &storage, &REQUEST);
            for version in 0..WRITES {
                assert_eq!(write(&engine, &name, version + 1, Some(version)).await, version + 1);
            }
        };
        let writers: Vec<_> =
            (0..64).map(|number| tokio::spawn(writer(number, Arc::clone(&keys), storage.clone()))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        end.store(true, Ordering::Relaxed);
        assert!(resealing.await.unwrap() > 0);
        let mount = mount(50);
        let engine = Engine::new(&keys, &mount, &storage, &REQUEST);
        for number in 0..64 {
            let name = path(&format!("w{number}"));
            for version in 1..=WRITES {
                let Read::Value(_, value) = engine.read(&name, Some(version)).await.unwrap() else {
                    unreachable!("version {version} of {number}")
                };
                assert_eq!(value.as_slice(), format!("{{\"n\":{version}}}").as_bytes());
            }
        }
    }
}
