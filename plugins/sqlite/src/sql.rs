//! Every statement, and nothing but statements: what they are for is decided elsewhere.
//!
//! `records` is clustered on (keyspace, key), and SQLite compares blobs as unsigned bytes, so its order is the
//! interface's.

use std::time::{SystemTime, UNIX_EPOCH};

use keyway_sdk::{
    AbiBytes, Bytes, Page, Record, Version,
    paging::{Pager, ScanPlan, Step},
};
use rusqlite::{Connection, OptionalExtension, Result, Row, named_params, types::ValueRef};

/// "keyw" in ASCII: says whose file it is.
const APPLICATION_ID: i32 = 0x6b65_7977;

/// The format that this version reads and writes.
pub(crate) const DATA_FORMAT: u32 = 1;

const SCHEMA: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE keyspaces (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE records (
        keyspace TEXT NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        version INTEGER NOT NULL,
        expires_at_ms INTEGER,
        PRIMARY KEY (keyspace, key)
    ) STRICT, WITHOUT ROWID;
";

/// How long a statement waits for a lock that only maintenance can hold, in milliseconds.
const BUSY_TIMEOUT_MS: u64 = 5_000;

/// Statements that each connection keeps prepared.
const CACHED_STATEMENTS: usize = 32;

/// What a new file is, or that it is somebody else's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Empty,
    Ours { data_format: u32 },
    Foreign,
}

/// How the file keeps its journal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JournalMode {
    Wal,
    /// The file system cannot share memory between connections.
    Other(String),
}

/// Sets up a connection that reads and writes.
pub(crate) fn set_up_writer(connection: &Connection) -> Result<JournalMode> {
    set_up(connection)?;
    // Answers the mode that it has got, and is no error where that is another one.
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Ok(JournalMode::Other(mode));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    // On macOS a plain fsync does not reach the disk; elsewhere these change nothing.
    connection.pragma_update(None, "fullfsync", "ON")?;
    connection.pragma_update(None, "checkpoint_fullfsync", "ON")?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    Ok(JournalMode::Wal)
}

/// Sets up a connection that only reads.
pub(crate) fn set_up_reader(connection: &Connection) -> Result<()> {
    set_up(connection)?;
    connection.pragma_update(None, "query_only", "ON")
}

fn set_up(connection: &Connection) -> Result<()> {
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.pragma_update(None, "cell_size_check", "ON")
}

pub(crate) fn file_kind(connection: &Connection) -> Result<FileKind> {
    let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let data_format: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application_id, tables) {
        (APPLICATION_ID, _) => FileKind::Ours { data_format },
        (0, 0) => FileKind::Empty,
        _ => FileKind::Foreign,
    })
}

/// Makes the tables of an empty file, in one transaction.
pub(crate) fn create(connection: &mut Connection, incarnation: u64) -> Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", DATA_FORMAT)?;
    let meta = "INSERT INTO meta (name, value) VALUES (?1, ?2)";
    transaction.execute(meta, ("incarnation", incarnation.cast_signed()))?;
    transaction.execute(meta, ("last_version", 0))?;
    transaction.commit()
}

pub(crate) fn incarnation(connection: &Connection) -> Result<u64> {
    meta(connection, "incarnation").map(i64::cast_unsigned)
}

pub(crate) fn last_version(connection: &Connection) -> Result<u64> {
    meta(connection, "last_version").map(i64::cast_unsigned)
}

pub(crate) fn set_last_version(connection: &Connection, version: u64) -> Result<()> {
    let mut statement =
        connection.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'last_version'")?;
    statement.execute([version.cast_signed()]).map(|_| ())
}

fn meta(connection: &Connection, name: &str) -> Result<i64> {
    connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?.query_row([name], |row| row.get(0))
}

/// Begins a transaction that may write, waiting for any other to end first.
pub(crate) fn begin_write(connection: &Connection) -> Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")
}

/// Begins a transaction that reads, and fixes its snapshot now.
pub(crate) fn begin_read(connection: &Connection) -> Result<()> {
    connection.execute_batch("BEGIN")?;
    incarnation(connection).map(|_| ())
}

pub(crate) fn commit(connection: &Connection) -> Result<()> {
    connection.execute_batch("COMMIT")
}

/// Rolls back, if anything is open.
pub(crate) fn rollback(connection: &Connection) -> Result<()> {
    if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("ROLLBACK") }
}

/// The live record of a key.
pub(crate) fn get(connection: &Connection, at: At, keyspace: &str, key: &[u8]) -> Result<Option<Record>> {
    let mut statement = connection.prepare_cached(
        "SELECT value, version, expires_at_ms FROM records WHERE keyspace = ?1 AND key = ?2",
    )?;
    let mut rows = statement.query((keyspace, key))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let expires_at_ms = expiry(row, 2)?;
    if at.is_expired(expires_at_ms) {
        return Ok(None);
    }
    let value = Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?);
    Ok(Some(Record::new(value, version(row, 1, at.incarnation)?).with_expiry(expires_at_ms)))
}

/// The version of the live record of a key.
pub(crate) fn current_version(
    connection: &Connection,
    at: At,
    keyspace: &str,
    key: &[u8],
) -> Result<Option<Version>> {
    let mut statement = connection
        .prepare_cached("SELECT version, expires_at_ms FROM records WHERE keyspace = ?1 AND key = ?2")?;
    let mut rows = statement.query((keyspace, key))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    if at.is_expired(expiry(row, 1)?) {
        return Ok(None);
    }
    version(row, 0, at.incarnation).map(Some)
}

/// What is to be written.
pub(crate) struct NewRecord<'a> {
    pub(crate) keyspace: &'a str,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) version: u64,
    pub(crate) expires_at_ms: Option<u64>,
}

pub(crate) fn put(connection: &Connection, record: &NewRecord<'_>) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO keyspaces (name) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([record.keyspace])?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO records (keyspace, key, value, version, expires_at_ms)
         VALUES (:keyspace, :key, :value, :version, :expires_at_ms)
         ON CONFLICT (keyspace, key) DO UPDATE SET
             value = excluded.value, version = excluded.version, expires_at_ms = excluded.expires_at_ms",
    )?;
    statement
        .execute(named_params! {
            ":keyspace": record.keyspace,
            ":key": record.key,
            ":value": record.value,
            ":version": record.version.cast_signed(),
            ":expires_at_ms": record.expires_at_ms.map(u64::cast_signed),
        })
        .map(|_| ())
}

/// Removes a record, live or expired.
pub(crate) fn delete(connection: &Connection, keyspace: &str, key: &[u8]) -> Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM records WHERE keyspace = ?1 AND key = ?2")?;
    statement.execute((keyspace, key)).map(|_| ())
}

/// One page.
pub(crate) fn scan(connection: &Connection, at: At, plan: ScanPlan<'_>) -> Result<Page> {
    let mut pager = Pager::new(plan);
    while !pager.plan().is_empty() && walk(connection, at, &mut pager)? == Step::Seek {}
    Ok(pager.finish())
}

fn walk(connection: &Connection, at: At, pager: &mut Pager<'_>) -> Result<Step> {
    let plan = pager.plan();
    let mut statement = connection.prepare_cached(walk_statement(plan))?;
    let (keyspace, lower) = (plan.keyspace().to_owned(), plan.lower().to_vec());
    let upper = plan.upper().map(<[u8]>::to_vec);
    let keys_only = plan.is_keys_only();
    let mut rows = match &upper {
        Some(upper) => statement.query((&keyspace, &lower, upper))?,
        None => statement.query((&keyspace, &lower))?,
    };
    while let Some(row) = rows.next()? {
        let expires_at_ms = expiry(row, 2)?;
        if at.is_expired(expires_at_ms) {
            continue;
        }
        let key = row.get_ref(0)?.as_blob()?;
        let version = version(row, 1, at.incarnation)?;
        let value = if keys_only { &[] } else { row.get_ref(3)?.as_blob()? };
        let record = || {
            let record = Record::new(Bytes::copy_from_slice(value), version).with_expiry(expires_at_ms);
            (AbiBytes::copy_from_slice(key), record)
        };
        let step = pager.offer(key, value.len(), record);
        if step != Step::Next {
            return Ok(step);
        }
    }
    Ok(Step::Done)
}

/// The upper bound is part of the statement or not there at all: as `?3 IS NULL OR key < ?3` it would keep SQLite
/// walking to the keyspace's end.
fn walk_statement(plan: &ScanPlan<'_>) -> &'static str {
    macro_rules! walk {
        ($columns:literal, $bound:literal, $order:literal) => {
            concat!(
                "SELECT key, version, expires_at_ms",
                $columns,
                " FROM records WHERE keyspace = ?1 AND key >= ?2",
                $bound,
                " ORDER BY key",
                $order
            )
        };
    }
    match (plan.is_keys_only(), plan.upper().is_some(), plan.is_reverse()) {
        (false, false, false) => walk!(", value", "", ""),
        (false, false, true) => walk!(", value", "", " DESC"),
        (false, true, false) => walk!(", value", " AND key < ?3", ""),
        (false, true, true) => walk!(", value", " AND key < ?3", " DESC"),
        (true, false, false) => walk!("", "", ""),
        (true, false, true) => walk!("", "", " DESC"),
        (true, true, false) => walk!("", " AND key < ?3", ""),
        (true, true, true) => walk!("", " AND key < ?3", " DESC"),
    }
}

pub(crate) fn keyspaces(connection: &Connection, after: &str, limit: u32) -> Result<Vec<String>> {
    let mut statement =
        connection.prepare_cached("SELECT name FROM keyspaces WHERE name > ?1 ORDER BY name LIMIT ?2")?;
    statement.query_map((after, limit), |row| row.get(0))?.collect()
}

pub(crate) fn drop_keyspace(connection: &Connection, name: &str) -> Result<bool> {
    connection.prepare_cached("DELETE FROM records WHERE keyspace = ?1")?.execute([name])?;
    let dropped = connection.prepare_cached("DELETE FROM keyspaces WHERE name = ?1")?.execute([name])?;
    Ok(dropped > 0)
}

/// A write that changes nothing and is to be rolled back: fails where a write would.
pub(crate) fn try_write(connection: &Connection) -> Result<()> {
    set_last_version(connection, last_version(connection)?)
}

/// A read of the file, not of a cache in front of it.
pub(crate) fn try_read(connection: &Connection) -> Result<()> {
    let first = "SELECT 1 FROM records LIMIT 1";
    connection.prepare_cached(first)?.query_row([], |_| Ok(())).optional().map(|_| ())
}

fn version(row: &Row<'_>, column: usize, incarnation: u64) -> Result<Version> {
    row.get::<_, i64>(column).map(|counter| Version::numbered(incarnation, counter.cast_unsigned()))
}

fn expiry(row: &Row<'_>, column: usize) -> Result<Option<u64>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        value => Some(value.as_i64()?.cast_unsigned()),
    })
}

/// Which store is read, and at what time records expire: in a transaction, the time when it began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    incarnation: u64,
    clock: Option<u64>,
}

impl At {
    /// The present, in this incarnation.
    pub(crate) fn present(incarnation: u64) -> Self {
        Self { incarnation, clock: None }
    }

    /// From now on, time stands still.
    pub(crate) fn frozen_now(self) -> Self {
        Self { clock: Some(now_ms()), ..self }
    }

    fn is_expired(self, expires_at_ms: Option<u64>) -> bool {
        expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= self.clock.unwrap_or_else(now_ms))
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
