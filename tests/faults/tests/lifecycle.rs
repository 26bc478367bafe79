//! Opening, closing and opening again repeats nothing, blocks nothing and leaves nothing over.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, thread, time::Duration};

use futures_executor::block_on;
use keyway_faults::store::{self, call};
use keyway_loader::{
    BackupPull, Begin, Condition, ErrorCode, Generation, Isolation, Key, Put, RestoreMode, RestoreRecord,
    Version,
};
use serde_json::json;

fn key() -> Key<'static> {
    Key::new("k", b"key")
}

fn put(store: &Generation, value: &[u8]) -> Version {
    block_on(store.put(&call(), Put::new(key(), value))).unwrap()
}

#[test]
fn version_that_a_transaction_showed_is_not_given_again_after_opening_anew() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path()).unwrap();
    let begin = Begin { isolation: Isolation::SERIALIZABLE, read_only: false };
    let transaction = block_on(store.begin(&call(), begin)).unwrap();
    block_on(transaction.put(&call(), Put::new(key(), b"rolled back"))).unwrap();
    let shown = block_on(transaction.get(&call(), key())).unwrap().unwrap().version();
    block_on(transaction.rollback(&call())).unwrap();
    store::close(&store);
    drop(store);

    let store = store::open(directory.path()).unwrap();
    for _ in 0..50 {
        assert_ne!(put(&store, b"v"), shown);
    }
    let stale = Put::new(key(), b"lost update").when(Condition::Version(shown));
    assert_eq!(block_on(store.put(&call(), stale)).unwrap_err().code(), ErrorCode::PRECONDITION_FAILED);
    store::close(&store);
}

#[test]
fn close_waits_for_no_idle_restore_or_backup_and_leaves_no_wal() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path()).unwrap();
    for _ in 0..20 {
        put(&store, &[7; 10_000]);
    }
    let sink = block_on(store.restore(&call(), RestoreMode::REPLACE)).unwrap();
    block_on(sink.write(&call(), &[RestoreRecord::new(key(), b"restored", 0)])).unwrap();
    let stream = block_on(store.backup(&call())).unwrap();
    let (closed, waits) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            block_on(store.shutdown(&call())).unwrap();
            closed.send(()).unwrap();
        });
        waits.recv_timeout(Duration::from_secs(30)).expect("the close comes to its end");
    });
    let refused = block_on(sink.write(&call(), &[RestoreRecord::new(key(), b"late", 0)])).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::CLOSED, "{refused}");
    assert!(block_on(stream.next(&call(), BackupPull { max_items: 1, max_bytes: 1 })).is_err());
    block_on(store.shutdown(&call())).unwrap();
    let files: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name == "k.db-wal"), "the WAL is left: {files:?}");

    // The database alone is the whole store.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::copy(directory.path().join(store::FILE), elsewhere.path().join(store::FILE)).unwrap();
    let copy = store::open(elsewhere.path()).unwrap();
    assert_eq!(block_on(copy.get(&call(), key())).unwrap().unwrap().value(), [7; 10_000]);
    store::close(&copy);
}

#[test]
fn expiry_beyond_what_sqlite_holds_is_never_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path()).unwrap();
    block_on(store.put(&call(), Put::new(key(), b"v").expiring_at_ms(u64::MAX))).unwrap();
    store::close(&store);
    drop(store);
    // Opening looks for what has expired.
    let store = store::open(directory.path()).unwrap();
    thread::sleep(Duration::from_millis(300));
    let record = block_on(store.get(&call(), key())).unwrap().unwrap();
    assert_eq!(record.expires_at_ms(), Some(u64::MAX));
    let refused = block_on(store.restore(&call(), RestoreMode::INTO_EMPTY)).err().unwrap();
    assert_eq!(refused.code(), ErrorCode::INVALID_ARGUMENT);
    store::close(&store);
}

#[test]
fn backup_succeeds_after_the_wal_was_larger_than_its_limit() {
    let directory = tempfile::tempdir().unwrap();
    let config = json!({ "path": store::FILE, "wal_limit_mib": 16 });
    let store = store::open_with(directory.path(), config).unwrap();
    put(&store, &vec![1; 32 * 1024 * 1024]);
    let stream = block_on(store.backup(&call())).unwrap();
    let chunk = block_on(stream.next(&call(), BackupPull { max_items: 10, max_bytes: 1 })).unwrap();
    assert_eq!((chunk.records().len(), chunk.is_done()), (1, true));
    store::close(&store);
}
