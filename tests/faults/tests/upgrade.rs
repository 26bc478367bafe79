//! A database of an older format: it is served as it is, and migrated on request, atomically and with a
//! backup copy.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use futures_executor::block_on;
use keyway_conformance::Random;
use keyway_faults::{
    Disk, Fault, campaign, nameless_files,
    store::{self, call},
};
use keyway_loader::{
    BackupPull, Condition, Delete, DropKeyspace, ErrorCode, Features, Generation, Key, Put, RestoreMode,
    Scan, Version, WriteId,
};

const INCARNATION: u64 = 0x0123_4567_89ab_cdef;

/// A database of format 1 with `bulk` more records.
fn old_database(directory: &Path, bulk: u32) {
    let connection = rusqlite::Connection::open(directory.join(store::FILE)).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    connection.execute_batch(include_str!("../fixtures/format-1.sql")).unwrap();
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                INSERT INTO records SELECT 'bulk', CAST(printf('%08d', i) AS BLOB), randomblob(1100), 7 + i, NULL FROM n";
    if bulk > 0 {
        connection.execute(fill, [bulk]).unwrap();
        connection.execute("INSERT INTO keyspaces VALUES ('bulk')", []).unwrap();
        connection.execute("UPDATE meta SET value = 7 + ?1 WHERE name = 'last_version'", [bulk]).unwrap();
    }
}

/// All that is in the store: keyspace, key, value, version, expiry.
type Everything = Vec<(String, Vec<u8>, Vec<u8>, Version, Option<u64>)>;

fn everything(store: &Generation) -> Everything {
    let stream = block_on(store.backup(&call())).unwrap();
    let mut all = Vec::new();
    loop {
        let pull = BackupPull { max_items: 1_000, max_bytes: 1024 * 1024 };
        let chunk = block_on(stream.next(&call(), pull)).unwrap();
        all.extend(chunk.records().iter().map(|record| {
            let (keyspace, key) = (record.keyspace().to_owned(), record.key().to_vec());
            (keyspace, key, record.value().to_vec(), record.version(), record.expires_at_ms())
        }));
        if chunk.is_done() {
            return all;
        }
    }
}

#[test]
fn old_format_is_declared_and_served_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    old_database(directory.path(), 300);
    let store = store::open(directory.path()).unwrap();
    let capabilities = store.capabilities();
    assert_eq!(capabilities.data_format, 1);
    assert!(!capabilities.features.contains(Features::RESTORE));
    let refused = block_on(store.restore(&call(), RestoreMode::REPLACE)).err().unwrap();
    assert_eq!(refused.code(), ErrorCode::UNSUPPORTED);

    assert_eq!(everything(&store).len(), 303, "one has expired");
    let page = block_on(store.scan(&call(), Scan::prefix("bulk", b"000002"))).unwrap();
    assert_eq!(page.entries().len(), 100);
    let key = Key::new("a", &[0, 0xff]);
    let record = block_on(store.get(&call(), key)).unwrap().unwrap();
    assert_eq!((record.value(), record.version()), (&b"one"[..], Version::numbered(INCARNATION, 3)));
    let put = Put::new(key, b"new").when(Condition::Version(record.version()));
    let version = block_on(store.put(&call(), put)).unwrap();
    assert!(version.as_bytes() > Version::numbered(INCARNATION, 307).as_bytes(), "the counter goes on");
    assert!(block_on(store.delete(&call(), Delete::new(Key::new("z", b"")))).unwrap());
    assert!(block_on(store.drop_keyspace(&call(), DropKeyspace::new("bulk", WriteId::default()))).unwrap());
    assert_eq!(block_on(store.keyspaces(&call(), "")).unwrap(), ["a", "empty", "z"]);
    assert_eq!(everything(&store).len(), 2);
    store::close(&store);
    let format = rusqlite::Connection::open(directory.path().join(store::FILE)).unwrap();
    let format: u32 = format.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(format, 1, "opening migrates nothing");
}

#[test]
fn upgrade_keeps_everything_and_a_private_copy() {
    let directory = tempfile::tempdir().unwrap();
    old_database(directory.path(), 5_000);
    let nameless = nameless_files();
    let _disk = Disk::counting(directory.path());
    let store = store::open(directory.path()).unwrap();
    let before = everything(&store);
    assert_eq!(block_on(store.upgrade(&call())).unwrap(), 2);
    assert_eq!(everything(&store), before, "in the same opening");
    let version = block_on(store.put(&call(), Put::new(Key::new("a", b"new"), b"v"))).unwrap();
    assert!(before.iter().all(|record| record.3 != version), "a version was given out twice");
    assert_eq!(block_on(store.upgrade(&call())).unwrap(), 2, "nothing is left to do");
    block_on(store.delete(&call(), Delete::new(Key::new("a", b"new")))).unwrap();
    store::close(&store);
    drop(store);

    let copy = directory.path().join("k.db.format-1");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(nameless_files(), nameless, "SQLite opened a temporary file elsewhere");
    assert_eq!(store::integrity(directory.path()), "ok");
    let store = store::open(directory.path()).unwrap();
    assert_eq!(store.capabilities().data_format, 2);
    assert!(store.capabilities().features.contains(Features::RESTORE));
    assert_eq!(everything(&store), before, "opened again");
    store::close(&store);
    drop(store);

    // The backup works: in the place of the database, it is the store before the upgrade.
    for file in fs::read_dir(directory.path()).unwrap() {
        let path = file.unwrap().path();
        if path != copy {
            fs::remove_file(path).unwrap();
        }
    }
    fs::rename(&copy, directory.path().join(store::FILE)).unwrap();
    let store = store::open(directory.path()).unwrap();
    assert_eq!(store.capabilities().data_format, 1);
    assert_eq!(everything(&store), before, "from the copy");
    store::close(&store);
}

#[test]
fn upgrade_that_loses_power_leaves_the_old_or_the_new_format_whole() {
    let mut formats = std::collections::BTreeSet::new();
    for seed in 0..campaign::rounds(40, 1_000) {
        let directory = tempfile::tempdir().unwrap();
        old_database(directory.path(), 60);
        let store = store::open(directory.path()).unwrap();
        let before = everything(&store);
        store::close(&store);
        drop(store);

        let mut random = Random::new(seed);
        let disk = Disk::new(directory.path()).unwrap();
        disk.set_fault(Some(Fault::LosePower { nth: 1 + random.below(400) }));
        let mut upgraded = false;
        if let Ok(store) = store::open(directory.path()) {
            upgraded = block_on(store.upgrade(&call())).is_ok();
            disk.lose_power();
            store::close(&store);
        }
        disk.settle(random.number()).unwrap();

        let store = store::open(directory.path()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let format = store.capabilities().data_format;
        assert!(format == 2 || !upgraded, "seed {seed}: an upgrade that was acknowledged is undone");
        assert_eq!(everything(&store), before, "seed {seed}");
        store::close(&store);
        drop(store);
        assert_eq!(store::integrity(directory.path()), "ok", "seed {seed}");
        formats.insert(format);
    }
    assert_eq!(formats.len(), 2, "the power should go before and after the commit");
}

#[test]
fn newer_and_foreign_files_are_refused_untouched() {
    for (statements, expected) in [
        ("PRAGMA application_id = 1801812343; PRAGMA user_version = 3; CREATE TABLE t (x)", "data format 3"),
        ("CREATE TABLE t (x)", "not one of Keyway's"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(store::FILE);
        rusqlite::Connection::open(&path).unwrap().execute_batch(statements).unwrap();
        let before = fs::read(&path).unwrap();
        let refused = store::open(directory.path()).err().unwrap();
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(store::FILE), "this is a text, and has more than sixteen bytes").unwrap();
    let refused = store::open(directory.path()).err().unwrap();
    assert!(refused.contains("SQLITE_NOTADB"), "{refused}");
}
