//! The tables of each data format, and the way from one to the next.

use rusqlite::{Connection, Result, TransactionBehavior};

use super::{set_last_version, set_mark, set_meta};

/// "keyw" in ASCII: says whose file it is.
const APPLICATION_ID: i32 = 0x6b65_7977;

/// The format that new files get, and the newest that is read.
pub(crate) const DATA_FORMAT: u32 = 2;

/// A data format that this version reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Keyspaces by name in every record, in a table clustered by key, where a record of 1 KiB takes two pages.
    One,
    /// Keyspaces by number, so that one row makes or drops a keyspace; records in a table with an index, and
    /// a table of those that expire.
    Two,
}

impl Format {
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    pub(crate) fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }
}

const META: &str = "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;";

/// `value` comes last, so that the rest is read without it. `orphans` holds the numbers of keyspaces that
/// have no name any more, or not yet. Upkeep removes their records in small steps.
const TABLES: &str = "
    CREATE TABLE spaces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE orphans (id INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE entries (
        space INTEGER NOT NULL,
        key BLOB NOT NULL,
        version INTEGER NOT NULL,
        expires_at_ms INTEGER,
        value BLOB NOT NULL,
        UNIQUE (space, key)
    ) STRICT;
    CREATE INDEX expiring ON entries (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
";

/// The state of a file: empty, a store, or foreign.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Empty,
    Ours { data_format: u32 },
    Foreign,
}

pub(crate) fn file_kind(connection: &Connection) -> Result<FileKind> {
    let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application_id, tables) {
        (APPLICATION_ID, _) => FileKind::Ours { data_format: data_format(connection)? },
        (0, 0) => FileKind::Empty,
        _ => FileKind::Foreign,
    })
}

pub(crate) fn data_format(connection: &Connection) -> Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Makes the tables of an empty file, in one transaction.
pub(crate) fn create(connection: &mut Connection, incarnation: u64, mark: u64) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(META)?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", DATA_FORMAT)?;
    set_meta(&transaction, "incarnation", incarnation.cast_signed())?;
    set_last_version(&transaction, 0)?;
    set_mark(&transaction, mark)?;
    transaction.commit()
}

/// From format 1 to format 2, in the transaction under way. Versions stay as they are; `last_version` is the last
/// number given out, and the keyspaces' numbers follow it. Answers the last number that is in use then.
pub(crate) fn migrate(connection: &Connection, last_version: u64) -> Result<u64> {
    connection.execute_batch(TABLES)?;
    connection.execute(
        "INSERT INTO spaces (id, name) SELECT ?1 + row_number() OVER (ORDER BY name), name FROM keyspaces",
        [last_version.cast_signed()],
    )?;
    // In the order of the keys, so that neighbours lie together.
    connection.execute(
        "INSERT INTO entries (space, key, version, expires_at_ms, value)
         SELECT spaces.id, key, version, expires_at_ms, value
         FROM records JOIN spaces ON spaces.name = records.keyspace ORDER BY keyspace, key",
        [],
    )?;
    connection.execute_batch("DROP TABLE records; DROP TABLE keyspaces")?;
    connection.pragma_update(None, "user_version", DATA_FORMAT)?;
    let last: Option<i64> = connection.query_row("SELECT max(id) FROM spaces", [], |row| row.get(0))?;
    let last = last.map_or(last_version, i64::cast_unsigned);
    set_last_version(connection, last)?;
    Ok(last)
}

/// Copies the whole database, as it is now, into an empty file.
pub(crate) fn copy_into(connection: &Connection, path: &str) -> Result<()> {
    connection.execute("VACUUM INTO ?1", [path]).map(|_| ())
}
