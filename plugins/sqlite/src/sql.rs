//! Every statement, and nothing but statements: what they are for is decided elsewhere.
//!
//! This file has the statements of a connection; [`schema`] makes the tables and migrates them, [`records`]
//! reads and writes single records, [`scan`] walks them in order, [`upkeep`] has backup, restore and the
//! removal of old records.

mod records;
mod scan;
mod schema;
mod upkeep;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyway_sdk::Version;
use rusqlite::{Connection, OptionalExtension as _, Result, Row, types::ValueRef};

pub(crate) use self::{
    records::{Found, NewRecord, current_version, delete, drop_keyspace, get, get_up_to, keyspaces, put},
    scan::scan,
    schema::{DATA_FORMAT, FileKind, Format, copy_into, create, data_format, file_kind, migrate},
    upkeep::{Position, Staged, Step, backup_page, is_empty, publish, remove_expired, remove_orphans, stage},
};

/// How long a statement waits for a lock that only another program can hold: long enough for `.backup` in the
/// `sqlite3` program, shorter than the host's patience.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements that each connection keeps prepared.
const CACHED_STATEMENTS: usize = 64;

/// The WAL is cut to this when it begins again, in bytes; to half of its limit if that is less.
const WAL_KEPT_BYTES: u64 = 64 * 1024 * 1024;

/// How long the writer waits for reads that keep a WAL from beginning again. Reads that begin meanwhile do
/// not keep it.
const REWIND_TIMEOUT: Duration = Duration::from_millis(20);

/// How the file keeps its journal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JournalMode {
    Wal,
    /// The file system cannot share memory between connections.
    Other(String),
}

/// Sets up a connection that reads and writes; `wal_limit` is in bytes.
pub(crate) fn set_up_writer(connection: &Connection, wal_limit: u64) -> Result<JournalMode> {
    set_up(connection)?;
    // In WAL mode as good as FULL. Before: the step into WAL mode uses a rollback journal, and were that to
    // reappear after a loss of power, it would undo the step, and SQLite would remove the WAL with all that
    // is in it.
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    // Answers the mode that it has got, and is no error if that is another one.
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Ok(JournalMode::Other(mode));
    }
    // On macOS a plain fsync does not reach the disk; elsewhere these change nothing.
    connection.pragma_update(None, "fullfsync", "ON")?;
    connection.pragma_update(None, "checkpoint_fullfsync", "ON")?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    // The checkpointer's thread does it, so that no commit pays for it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES.min(wal_limit / 2).cast_signed())?;
    Ok(JournalMode::Wal)
}

/// Sets up a connection that only reads.
pub(crate) fn set_up_reader(connection: &Connection) -> Result<()> {
    set_up(connection)?;
    connection.pragma_update(None, "query_only", "ON")
}

fn set_up(connection: &Connection) -> Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.pragma_update(None, "cell_size_check", "ON")
}

/// Copies what readers allow from the WAL to the database and syncs it, without blocking readers or writers.
/// Answers how many pages the WAL holds.
pub(crate) fn checkpoint(connection: &Connection) -> Result<u64> {
    checkpoint_by(connection, "PRAGMA wal_checkpoint(PASSIVE)")
}

/// The same, and lets the next write begin at the WAL's head if no reader needs the WAL. Only for the
/// writer's connection, between two transactions.
pub(crate) fn checkpoint_and_rewind(connection: &Connection) -> Result<u64> {
    connection.busy_timeout(REWIND_TIMEOUT)?;
    let done = checkpoint_by(connection, "PRAGMA wal_checkpoint(RESTART)");
    connection.busy_timeout(BUSY_TIMEOUT)?;
    done
}

fn checkpoint_by(connection: &Connection, pragma: &str) -> Result<u64> {
    // The second column; -1 if there is no WAL.
    connection
        .query_row(pragma, [], |row| row.get::<_, i64>(1).map(|pages| u64::try_from(pages).unwrap_or(0)))
}

pub(crate) fn incarnation(connection: &Connection) -> Result<u64> {
    meta(connection, "incarnation").map(i64::cast_unsigned)
}

pub(crate) fn last_version(connection: &Connection) -> Result<u64> {
    meta(connection, "last_version").map(i64::cast_unsigned)
}

pub(crate) fn set_last_version(connection: &Connection, version: u64) -> Result<()> {
    set_meta(connection, "last_version", version.cast_signed())
}

/// The mark of the state that the store is in, and of the one before it.
pub(crate) const MARK: &str = "lineage";
pub(crate) const MARK_BEFORE: &str = "lineage_before";
/// All that `meta` ever holds, in order.
pub(crate) const META_NAMES: [&str; 5] = ["incarnation", "last_version", MARK, MARK_BEFORE, "probe"];

/// Both marks; zero if there is none.
pub(crate) fn marks(connection: &Connection) -> Result<(u64, u64)> {
    let mark = |name| meta(connection, name).optional().map(|mark| mark.unwrap_or(0).cast_unsigned());
    Ok((mark(MARK)?, mark(MARK_BEFORE)?))
}

/// Writes a new mark; the present one is that before it then.
pub(crate) fn set_mark(connection: &Connection, mark: u64) -> Result<()> {
    let (present, _) = marks(connection)?;
    set_meta(connection, MARK_BEFORE, present.cast_signed())?;
    set_meta(connection, MARK, mark.cast_signed())
}

/// Writes a mark that [`probe`] reads, to see that the store keeps what it is given.
pub(crate) fn set_probe(connection: &Connection, mark: u64) -> Result<()> {
    set_meta(connection, "probe", mark.cast_signed())
}

pub(crate) fn probe(connection: &Connection) -> Result<u64> {
    meta(connection, "probe").map(i64::cast_unsigned)
}

/// "ok", or the first problem of the file.
pub(crate) fn integrity(connection: &Connection) -> Result<String> {
    connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
}

fn meta(connection: &Connection, name: &str) -> Result<i64> {
    connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?.query_row([name], |row| row.get(0))
}

fn set_meta(connection: &Connection, name: &str, value: i64) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?;
    statement.execute((name, value)).map(|_| ())
}

/// Begins a transaction that may write, waiting for any other to end first.
pub(crate) fn begin_write(connection: &Connection) -> Result<()> {
    run(connection, "BEGIN IMMEDIATE")
}

/// Begins a transaction that reads, and fixes its snapshot now.
pub(crate) fn begin_read(connection: &Connection) -> Result<()> {
    run(connection, "BEGIN")?;
    incarnation(connection).map(|_| ())
}

pub(crate) fn commit(connection: &Connection) -> Result<()> {
    run(connection, "COMMIT")
}

/// Rolls back, if anything is open.
pub(crate) fn rollback(connection: &Connection) -> Result<()> {
    if connection.is_autocommit() { Ok(()) } else { run(connection, "ROLLBACK") }
}

/// Runs reads in one snapshot.
pub(crate) fn in_snapshot<T>(connection: &Connection, work: impl FnOnce() -> Result<T>) -> Result<T> {
    run(connection, "BEGIN")?;
    let result = work();
    let ended = rollback(connection);
    result.and_then(|value| ended.map(|()| value))
}

fn run(connection: &Connection, statement: &'static str) -> Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(|_| ())
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

/// Which store is read, in which format, and at what time records expire: in a transaction, the time when it
/// began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    incarnation: u64,
    format: Format,
    clock: Option<u64>,
}

impl At {
    /// The present, in this incarnation.
    pub(crate) fn present(incarnation: u64, format: Format) -> Self {
        Self { incarnation, format, clock: None }
    }

    /// From now on, time stands still.
    pub(crate) fn frozen_now(self) -> Self {
        Self { clock: Some(now_ms()), ..self }
    }

    /// The same, in the format that the file turned out to have.
    pub(crate) fn in_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// The format that the statements are written for.
    pub(crate) fn format(self) -> Format {
        self.format
    }

    fn is_expired(self, expires_at_ms: Option<u64>) -> bool {
        expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= self.now_ms())
    }

    fn now_ms(self) -> u64 {
        self.clock.unwrap_or_else(now_ms)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
