//! What the SQLite plugin adds to SQLite: the library as it ships against plain rusqlite with the same
//! pragmas, the same bytes and the same syncs.
//!
//! The baseline reads with a connection for each thread and a cached statement; it writes with one thread
//! that is fed by a queue, in one transaction for each put.

use std::{
    hint::black_box,
    path::Path,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
};

use anyhow::Result;
use futures_executor::block_on;
use keyway_faults::{Call, Disk};
use keyway_loader::{CallContext, Generation, Key, Put};
use rusqlite::{Connection, OpenFlags};

use crate::{
    plugin,
    rounds::{Spread, in_turns},
};

const KEYSPACE: &str = "bench";
const KEYS: u32 = 100_000;
const VALUE: [u8; 1_024] = [7; 1_024];
/// Operations of a round.
const GETS: u32 = 100_000;
const PUTS: u32 = 6_400;

/// Prints one line for each measurement.
pub(crate) fn run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let plain = Plain::open(&directory.path().join("plain.db"))?;
    let store = plugin::open("sqlite", serde_json::json!({ "path": "k.db" }), directory.path())?;
    for chunk in (0..KEYS).collect::<Vec<_>>().chunks(500) {
        let keys: Vec<Vec<u8>> = chunk.iter().map(|n| key(*n)).collect();
        let ops: Vec<_> =
            keys.iter().map(|key| keyway_loader::Op::put(Key::new(KEYSPACE, key), &VALUE)).collect();
        let batch = keyway_loader::Batch::new(&ops, keyway_loader::BatchMode::Atomic, <_>::default());
        block_on(store.apply(&CallContext::background(), batch))?;
    }
    plain.fill()?;
    println!(
        "{KEYS} records of {} bytes, microseconds a call: median (lowest to highest round)",
        VALUE.len()
    );
    println!("{:<18} {:>26} {:>26} {:>7}", "", "rusqlite", "plugin", "ratio");
    for threads in [1, 8] {
        report(
            &format!("get, {threads} threads"),
            GETS,
            &mut |count| in_threads(threads, count, |thread, n| plain.get(thread, &key(n % KEYS))),
            &mut |count| in_threads(threads, count, |_, n| get(&store, &key(n % KEYS))),
        );
    }
    for threads in [1, 64] {
        report(
            &format!("put, {threads} writers"),
            PUTS,
            &mut |count| in_threads(threads, count, |_, n| plain.put(&key(n % KEYS))),
            &mut |count| in_threads(threads, count, |_, n| put(&store, &key(n % KEYS))),
        );
    }
    for writers in [1, 8, 64, 256] {
        println!("syncs for each acknowledged put, {writers} writers: {:.4}", syncs_per_put(writers)?);
    }
    Ok(())
}

fn key(n: u32) -> Vec<u8> {
    format!("secret/app/{:06}", n.wrapping_mul(7_919) % KEYS).into_bytes()
}

fn get(store: &Generation, key: &[u8]) {
    let record = block_on(store.get(&CallContext::background(), Key::new(KEYSPACE, key)));
    assert!(black_box(record).is_ok_and(|record| record.is_some()), "a record is there");
}

fn put(store: &Generation, key: &[u8]) {
    let version = block_on(store.put(&CallContext::background(), Put::new(Key::new(KEYSPACE, key), &VALUE)));
    assert!(black_box(version).is_ok(), "a put succeeds");
}

/// `count` operations over all, each thread one after the other.
fn in_threads(threads: u32, count: u32, work: impl Fn(usize, u32) + Sync) {
    if threads == 1 {
        return (0..count).for_each(|n| work(0, n));
    }
    thread::scope(|scope| {
        for thread in 0..threads {
            let work = &work;
            scope.spawn(move || {
                (0..count / threads).for_each(|n| work(thread as usize, thread * (count / threads) + n));
            });
        }
    });
}

fn report(name: &str, operations: u32, baseline: &mut dyn FnMut(u32), plugin: &mut dyn FnMut(u32)) {
    let spreads = in_turns(operations, &mut [baseline, plugin]);
    let [base, plugin] = spreads.as_slice() else { return };
    let text = |spread: &Spread| {
        let [median, low, high] =
            [spread.median, spread.low, spread.high].map(|nanoseconds| nanoseconds / 1_000.0);
        format!("{median:.2} ({low:.2} to {high:.2})")
    };
    println!("{name:<18} {:>26} {:>26} {:>7.2}", text(base), text(plugin), plugin.median / base.median);
}

/// Syncs for each put, counted beneath the linked backend. Each writer waits for its answer before its next
/// put.
fn syncs_per_put(writers: u32) -> Result<f64> {
    let directory = tempfile::tempdir()?;
    let disk = Disk::counting(directory.path());
    let store = keyway_faults::store::open(directory.path()).map_err(anyhow::Error::msg)?;
    let before = disk.counts().of(Call::Sync);
    in_threads(writers, PUTS, |_, n| put(&store, &key(n)));
    let syncs = disk.counts().of(Call::Sync) - before;
    keyway_faults::store::close(&store);
    Ok(syncs as f64 / f64::from(PUTS))
}

/// Plain rusqlite.
struct Plain {
    readers: Vec<Mutex<Connection>>,
    writes: SyncSender<(Vec<u8>, Sender<bool>)>,
    path: std::path::PathBuf,
}

impl Plain {
    fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        set_up(&connection)?;
        connection.execute_batch(
            "CREATE TABLE kv (key BLOB PRIMARY KEY, version INTEGER NOT NULL, expires_at_ms INTEGER, value BLOB NOT NULL)",
        )?;
        let readers = (0..8).map(|_| {
            let connection = Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?;
            connection.set_prepared_statement_cache_capacity(64);
            set_up_reader(&connection)?;
            Ok(Mutex::new(connection))
        });
        let readers = readers.collect::<rusqlite::Result<_>>()?;
        let (writes, jobs) = mpsc::sync_channel(1_024);
        thread::spawn(move || write_all(&connection, &jobs));
        Ok(Self { readers, writes, path: path.to_owned() })
    }

    fn fill(&self) -> Result<()> {
        let mut connection = Connection::open(&self.path)?;
        let transaction = connection.transaction()?;
        for n in 0..KEYS {
            insert(&transaction, &key(n))?;
        }
        transaction.commit()?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn get(&self, thread: usize, key: &[u8]) {
        let Some(reader) = self.readers.get(thread) else { return };
        let connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
        let statement =
            connection.prepare_cached("SELECT value, version, expires_at_ms FROM kv WHERE key = ?1");
        let record = statement.and_then(|mut statement| {
            statement.query_row([key], |row| {
                let value: Vec<u8> = row.get(0)?;
                Ok((value, row.get::<_, i64>(1)?, row.get::<_, Option<i64>>(2)?))
            })
        });
        assert!(black_box(record).is_ok(), "a record is there");
    }

    fn put(&self, key: &[u8]) {
        let (done, answer) = mpsc::channel();
        let sent = self.writes.send((key.to_vec(), done)).is_ok();
        assert!(sent && answer.recv() == Ok(true), "a put succeeds");
    }
}

fn write_all(connection: &Connection, jobs: &Receiver<(Vec<u8>, Sender<bool>)>) {
    for (key, done) in jobs {
        // A single statement is a transaction.
        let written = insert(connection, &key).is_ok();
        // The caller waits for it.
        let _gone = done.send(written);
    }
}

fn insert(connection: &Connection, key: &[u8]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO kv (key, version, expires_at_ms, value) VALUES (?1, 1, NULL, ?2)
         ON CONFLICT (key) DO UPDATE SET version = version + 1, value = excluded.value",
    )?;
    statement.execute((key, VALUE)).map(|_| ())
}

/// As the plugin does it, checkpoints apart: here SQLite makes them in the writer's way, as it does by itself.
fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = EXTRA; PRAGMA secure_delete = ON")?;
    set_up_reader(connection)
}

fn set_up_reader(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .execute_batch("PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")
}
