//! What operators do with the file by hand: look at it, copy it, move it away.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says what it skips"
)]

mod put_back;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    thread,
    time::Duration,
};

use futures_executor::block_on;
use keyway_faults::store::{self, call};
use keyway_loader::{
    BackupPull, Begin, DropKeyspace, ErrorCode, Generation, Isolation, Key, Outcome, Put, Record, WriteId,
};
use serde_json::json;

/// Runs the distribution's `sqlite3` on the database. None, with a printed line, if there is none.
fn sqlite3(directory: &Path, command: &str) -> Option<Output> {
    match Command::new("sqlite3").arg("-batch").arg(directory.join(store::FILE)).arg(command).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "sqlite3 is missing: {error}");
            println!("SKIPPED: there is no sqlite3 on this machine ({error})");
            None
        }
    }
}

fn answer(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn put(store: &Generation, key: &[u8], value: &[u8]) {
    block_on(store.put(&call(), Put::new(Key::new("app", key), value))).unwrap();
}

fn get(store: &Generation, key: &[u8]) -> Option<Record> {
    block_on(store.get(&call(), Key::new("app", key))).unwrap()
}

#[test]
fn sqlite3_sees_what_the_readme_says_while_the_store_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path()).unwrap();
    put(&store, b"db/password", b"ciphertext");
    put(&store, b"other", b"");
    let readme = include_str!("../../../../plugins/sqlite/README.md");
    let query = |text: &str| {
        assert!(readme.contains(text), "the README does not say: {text}");
        sqlite3(directory.path(), text).map(|output| answer(&output))
    };
    let listing =
        "SELECT name, count(*), sum(length(value)) FROM spaces JOIN entries ON space = id GROUP BY id;";
    let Some(listed) = query(listing) else { return };
    assert_eq!(listed, "app|2|10\n");
    assert_eq!(query("PRAGMA integrity_check;").unwrap(), "ok\n");
    assert_eq!(query("PRAGMA user_version;").unwrap(), "2\n");

    // A copy by the program is a store.
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join(store::FILE);
    answer(&sqlite3(directory.path(), &format!(".backup '{}'", copy.display())).unwrap());
    let copied = store::open(copies.path()).unwrap();
    assert_eq!(get(&copied, b"db/password").unwrap().value(), b"ciphertext");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    store::close(&copied);
    put(&store, b"other", b"goes on");
    store::close(&store);
}

#[test]
fn another_programs_lock_makes_a_write_wait_or_fail_with_proof() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path()).unwrap();
    put(&store, b"k", b"before");
    let other = rusqlite::Connection::open(directory.path().join(store::FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        other.execute_batch("ROLLBACK").unwrap();
        other
    });
    put(&store, b"k", b"after");
    let other = waiting.join().unwrap();

    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = block_on(store.put(&call(), Put::new(Key::new("app", b"k"), b"never"))).unwrap_err();
    assert_eq!(
        (refused.code(), refused.outcome()),
        (ErrorCode::UNAVAILABLE, Outcome::NOT_APPLIED),
        "{refused}"
    );
    assert!(refused.native_code().starts_with("SQLITE_BUSY"), "{refused}");
    assert_eq!(get(&store, b"k").unwrap().value(), b"after", "reads go on meanwhile");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(block_on(store.health(&call())).unwrap().is_ready());
    store::close(&store);
}

#[test]
fn database_that_was_moved_away_is_not_written_to_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path()).unwrap();
    put(&store, b"k", b"before");
    let (path, aside) = (directory.path().join(store::FILE), directory.path().join("aside"));
    let begin = Begin { isolation: Isolation::SERIALIZABLE, read_only: false };
    let open = block_on(store.begin(&call(), begin)).unwrap();
    block_on(open.put(&call(), Put::new(Key::new("app", b"k"), b"lost"))).unwrap();
    fs::rename(&path, &aside).unwrap();
    let refused = block_on(open.commit(&call(), WriteId::default())).unwrap_err();
    assert_eq!(
        (refused.code(), refused.outcome()),
        (ErrorCode::UNAVAILABLE, Outcome::NOT_APPLIED),
        "{refused}"
    );
    let refused = block_on(store.put(&call(), Put::new(Key::new("app", b"k"), b"lost"))).unwrap_err();
    assert_eq!((refused.code(), refused.outcome()), (ErrorCode::UNAVAILABLE, Outcome::NOT_APPLIED));
    assert!(refused.message().contains("k.db was moved or removed"), "{refused}");
    fs::write(&path, "").unwrap();
    let health = block_on(store.health(&call())).unwrap();
    assert!(!health.is_writable() && health.detail().contains("was replaced"), "{health:?}");
    fs::rename(&aside, &path).unwrap();
    assert!(block_on(store.health(&call())).unwrap().is_ready());
    assert_eq!(get(&store, b"k").unwrap().value(), b"before");
    put(&store, b"k", b"after");
    store::close(&store);
}

#[test]
fn backup_is_ended_where_the_wal_grows_too_far_and_the_wal_shrinks_again() {
    let directory = tempfile::tempdir().unwrap();
    let config = json!({ "path": store::FILE, "wal_limit_mib": 16 });
    let store = store::open_with(directory.path(), config).unwrap();
    put(&store, b"first", b"v");
    put(&store, b"second", b"v");
    let stream = block_on(store.backup(&call())).unwrap();
    let pull = BackupPull { max_items: 1, max_bytes: 1024 };
    assert_eq!(block_on(stream.next(&call(), pull)).unwrap().records().len(), 1);
    let wal = || fs::metadata(directory.path().join("k.db-wal")).unwrap().len();
    let large = vec![3; 1024 * 1024];
    for turn in 0..24_u8 {
        put(&store, &[turn], &large);
    }
    assert!(wal() > 16 * 1024 * 1024, "the snapshot keeps the WAL");
    let ended = block_on(stream.next(&call(), pull)).unwrap_err();
    assert_eq!(ended.code(), ErrorCode::RESOURCE_EXHAUSTED);
    assert!(ended.message().contains("wal_limit_mib"), "{ended}");
    drop(stream);
    let most = wal();
    for turn in 0..100_u8 {
        put(&store, &[turn % 8], &large);
    }
    assert!(wal() < most + 64 * 1024 * 1024, "the WAL is never begun again: {most}, then {}", wal());
    store::close(&store);
}

#[test]
fn removal_in_the_background_does_not_fill_the_wal() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path()).unwrap();
    for index in 0..96_u8 {
        put(&store, &[index], &vec![index; 1024 * 1024]);
    }
    assert!(block_on(store.drop_keyspace(&call(), DropKeyspace::new("app", WriteId::default()))).unwrap());
    let connection = rusqlite::Connection::open(directory.path().join(store::FILE)).unwrap();
    let orphans =
        || connection.query_row("SELECT count(*) FROM orphans", [], |row| row.get::<_, u32>(0)).unwrap();
    for _ in 0..600 {
        if orphans() == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(orphans(), 0);
    // SQLite overwrites the removed records with zeros, 96 MiB in all.
    let wal = fs::metadata(directory.path().join("k.db-wal")).unwrap().len() / (1024 * 1024);
    assert!(wal < 64, "the WAL has {wal} MiB");
    drop(connection);
    store::close(&store);
}

#[test]
fn space_of_dropped_keyspaces_is_reclaimed_in_the_background_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let entries = || {
        let connection = rusqlite::Connection::open(directory.path().join(store::FILE)).unwrap();
        connection.query_row("SELECT count(*) FROM entries", [], |row| row.get::<_, u32>(0)).unwrap()
    };
    let wait_until_empty = || {
        for _ in 0..200 {
            if entries() == 0 {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{} records are left", entries());
    };
    let store = store::open(directory.path()).unwrap();
    for index in 0..1_000_u32 {
        put(&store, &index.to_be_bytes(), b"v");
    }
    assert!(block_on(store.drop_keyspace(&call(), DropKeyspace::new("app", WriteId::default()))).unwrap());
    assert!(get(&store, &0_u32.to_be_bytes()).is_none(), "gone at once, whatever is left of it");
    wait_until_empty();
    store::close(&store);
    drop(store);

    // What a restore has left that was never finished, and what has expired, goes when the store is opened.
    let connection = rusqlite::Connection::open(directory.path().join(store::FILE)).unwrap();
    connection
        .execute_batch(
            "INSERT INTO orphans VALUES (77); INSERT INTO spaces VALUES (78, 'expired');
             INSERT INTO entries VALUES (77, x'01', 1, NULL, x''), (78, x'01', 2, 1, x'')",
        )
        .unwrap();
    drop(connection);
    assert_eq!(entries(), 2);
    let store = store::open(directory.path()).unwrap();
    wait_until_empty();
    store::close(&store);
}
