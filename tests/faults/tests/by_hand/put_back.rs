//! Copies of the files that are put back: whole ones open, and what belongs to two states of the store is refused.

use tempfile::TempDir;

use super::*;

const WAL: &str = "k.db-wal";
const SHM: &str = "k.db-shm";

/// The files as a kill would leave them now.
fn crashed(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in [store::FILE, WAL, SHM] {
        if directory.join(file).exists() {
            fs::copy(directory.join(file), copy.path().join(file)).unwrap();
        }
    }
    copy
}

/// What a client of SQLite copies while the store is open.
fn copied(directory: &Path, how: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let connection = rusqlite::Connection::open(directory.join(store::FILE)).unwrap();
    let target = copy.path().join(store::FILE);
    match how {
        ".backup" => {
            let Some(output) = sqlite3(directory, &format!(".backup '{}'", target.display())) else {
                return copy;
            };
            answer(&output);
        }
        _ => drop(connection.execute("VACUUM INTO ?1", [target.to_str().unwrap()]).unwrap()),
    }
    copy
}

/// Puts enough for the WAL to begin again at least once.
fn work(store: &Generation, key: u8) {
    for turn in 0..40_u8 {
        put(store, &[key, turn], &[turn; 400 * 1024]);
    }
    put(store, b"last", &[key]);
}

fn take(from: &TempDir, to: &TempDir, file: &str) {
    fs::copy(from.path().join(file), to.path().join(file)).unwrap();
}

fn refused(directory: &TempDir, other: &str) -> bool {
    let before = contents(directory);
    let Err(text) = store::open(directory.path()).map(|store| store::close(&store)) else { return false };
    assert!(text.contains("put") && text.contains(&format!("k.db{other} away")), "{text}");
    assert_eq!(contents(directory), before, "it changed what it refused");
    true
}

fn contents(directory: &TempDir) -> Vec<Option<Vec<u8>>> {
    [store::FILE, WAL, "k.db-journal"].iter().map(|file| fs::read(directory.path().join(file)).ok()).collect()
}

/// It opens, is whole, and holds this last write.
fn opens(directory: &TempDir, last: u8) {
    let store = store::open(directory.path()).unwrap();
    assert_eq!(get(&store, b"last").unwrap().value(), [last]);
    put(&store, b"more", b"v");
    store::close(&store);
    drop(store);
    assert_eq!(store::integrity(directory.path()), "ok");
}

#[test]
fn database_that_was_put_back_beside_the_wal_of_a_later_state_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path()).unwrap();
    work(&store, 1);
    let copies: Vec<(&str, TempDir)> =
        ["VACUUM INTO", ".backup"].map(|how| (how, copied(directory.path(), how))).into();
    let before = crashed(directory.path());
    work(&store, 2);
    work(&store, 3);
    // The mark of the WAL's beginning is older than this state by a little.
    let late = copied(directory.path(), "VACUUM INTO");
    let after = crashed(directory.path());
    store::close(&store);
    assert!(fs::metadata(after.path().join(WAL)).unwrap().len() > 0);

    for (how, copy) in &copies {
        if !copy.path().join(store::FILE).exists() {
            continue;
        }
        // Beside the WAL that was left, with the memory of another and without.
        let mixed = crashed(after.path());
        take(copy, &mixed, store::FILE);
        assert!(refused(&mixed, "-wal"), "{how}");
        fs::remove_file(mixed.path().join(SHM)).unwrap();
        assert!(refused(&mixed, "-wal"), "{how}");
        // What the text says to do.
        fs::rename(mixed.path().join(WAL), mixed.path().join("aside")).unwrap();
        opens(&mixed, 1);
        let mixed = crashed(after.path());
        take(copy, &mixed, store::FILE);
        take(&after, &mixed, store::FILE);
        opens(&mixed, 3);
    }
    // Mixed copies: the database of one state with the WAL of another.
    for (database, wal, last) in [(&before, &after, 3), (&after, &before, 1)] {
        let mixed = crashed(wal.path());
        take(database, &mixed, store::FILE);
        assert!(refused(&mixed, "-wal"));
        take(wal, &mixed, store::FILE);
        opens(&mixed, last);
    }
    // A copy that SQLite has laid out again, of a state that the WAL itself holds.
    let mixed = crashed(after.path());
    take(&late, &mixed, store::FILE);
    assert!(refused(&mixed, "-wal"));
    fs::remove_file(mixed.path().join(WAL)).unwrap();
    opens(&mixed, 3);
}

#[test]
fn another_stores_database_beside_a_wal_is_refused_and_a_missing_one_is_not_made() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [one, other] = directories.each_ref().map(|directory| {
        let store = store::open(directory.path()).unwrap();
        put(&store, b"last", b"v");
        let crashed = crashed(directory.path());
        store::close(&store);
        crashed
    });
    let mixed = crashed(one.path());
    fs::copy(directories.last().unwrap().path().join(store::FILE), mixed.path().join(store::FILE)).unwrap();
    assert!(refused(&mixed, "-wal"));
    // Nothing but what made the store's file: there the WAL is all of the store.
    opens(&crashed(other.path()), b'v');

    let alone = crashed(one.path());
    fs::remove_file(alone.path().join(store::FILE)).unwrap();
    assert!(refused(&alone, "-wal"));
    fs::write(alone.path().join(store::FILE), "").unwrap();
    assert!(refused(&alone, "-wal"));
    take(&one, &alone, store::FILE);
    opens(&alone, b'v');
}

#[test]
fn journal_of_a_new_file_beside_a_store_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path()).unwrap();
    put(&store, b"last", b"v");
    store::close(&store);
    drop(store);
    // As the step into WAL mode has it, and as a crash may leave it: the database had no page before.
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    for number in [0_u32, 7, 0, 512, 4096] {
        journal.extend(number.to_be_bytes());
    }
    journal.resize(512, 0);
    fs::write(directory.path().join("k.db-journal"), &journal).unwrap();
    assert!(refused(&directory, "-journal"));
    fs::remove_file(directory.path().join("k.db-journal")).unwrap();
    opens(&directory, b'v');
}

#[test]
fn state_that_a_kill_leaves_at_any_time_opens_and_so_does_its_copy() {
    let directory = tempfile::tempdir().unwrap();
    let store = store::open(directory.path()).unwrap();
    let mut last = None;
    for turn in 0..60_u8 {
        put(&store, &[turn % 7], &vec![turn; usize::from(turn % 5) * 300 * 1024]);
        put(&store, b"last", &[turn]);
        if turn % 9 == 0 {
            assert!(block_on(store.health(&call())).unwrap().is_ready());
        }
        if turn % 3 == 0 {
            opens(&crashed(directory.path()), turn);
            // An operator who looks at the files of a dead server copies the WAL into the database.
            let looked_at = crashed(directory.path());
            let connection = rusqlite::Connection::open(looked_at.path().join(store::FILE)).unwrap();
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            connection.execute_batch("VACUUM; CREATE TABLE theirs (x)").unwrap();
            let half = crashed(looked_at.path());
            drop(connection);
            opens(&half, turn);
            opens(&looked_at, turn);
        }
        if turn % 10 == 9 {
            last = Some(copied(directory.path(), "VACUUM INTO"));
        }
    }
    opens(&last.unwrap(), 59);
    store::close(&store);
}
