//! The database: its connections, its tables, its errors.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use keyway_sdk::{Error, ErrorCode, Result};
use rusqlite::{Connection, ffi};

/// The format of the tables that this version writes.
pub(crate) const FORMAT: u32 = 1;

/// How long a connection waits for another one.
const BUSY: Duration = Duration::from_secs(5);

/// A keyspace exists from its first write until it is dropped, even if it has no record. The times are milliseconds
/// since 1970; none means that the record does not expire.
const TABLES: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE keyspaces (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);
    CREATE TABLE records (
        keyspace INTEGER NOT NULL REFERENCES keyspaces (id),
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        version BLOB NOT NULL,
        expires_at_ms INTEGER,
        PRIMARY KEY (keyspace, key)
    ) WITHOUT ROWID;
    CREATE INDEX records_by_expiry ON records (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
    CREATE TABLE health (only_row INTEGER PRIMARY KEY, changes INTEGER NOT NULL);
    INSERT INTO health VALUES (1, 0);
    PRAGMA user_version = 1;
    COMMIT;
";

/// A connection that syncs each transaction.
pub(crate) fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    // EXTRA also syncs the directory when the first journal goes: if that came back after a loss of power, it would undo
    // the change to WAL mode, and with it everything.
    // The other two are for macOS, where a plain sync does not reach the disk.
    let pragmas = "PRAGMA synchronous = EXTRA; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;";
    connection.execute_batch(pragmas).map_err(failed)?;
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        let message = format!("{} cannot be used in WAL mode: put it on a local file system", path.display());
        return Err(Error::new(ErrorCode::UNAVAILABLE, message));
    }
    Ok(connection)
}

/// Makes the tables if there are none.
pub(crate) fn create_tables(connection: &Connection) -> Result<()> {
    let format: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    match format {
        0 => connection.execute_batch(TABLES).map_err(failed),
        1..=FORMAT => Ok(()),
        newer => {
            let message = format!("the database has format {newer}; this version reads up to {FORMAT}");
            Err(Error::new(ErrorCode::UNSUPPORTED, message))
        }
    }
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The error of a statement. A write that fails with it has not happened, unless it was the commit.
pub(crate) fn failed(error: rusqlite::Error) -> Error {
    let code = match error.sqlite_error_code() {
        Some(ffi::ErrorCode::DiskFull | ffi::ErrorCode::OutOfMemory) => ErrorCode::RESOURCE_EXHAUSTED,
        Some(ffi::ErrorCode::DatabaseCorrupt | ffi::ErrorCode::NotADatabase) => ErrorCode::CORRUPT,
        Some(ffi::ErrorCode::ReadOnly | ffi::ErrorCode::PermissionDenied) => ErrorCode::PERMISSION_DENIED,
        Some(ffi::ErrorCode::DatabaseBusy) => ErrorCode::TIMEOUT,
        _ => ErrorCode::UNAVAILABLE,
    };
    let native_code = error.sqlite_error().map(|error| format!("SQLite {}", error.extended_code));
    Error::new(code, error.to_string()).with_native_code(native_code.unwrap_or_default())
}

/// What a column should not have held.
pub(crate) fn corrupt(column: &str) -> Error {
    Error::new(ErrorCode::CORRUPT, format!("a record has no valid {column}"))
}
