//! Connections to the file, for each of their uses.

use std::path::Path;

use keyway_sdk::{Error, ErrorCode, Result};
use rusqlite::{Connection, OpenFlags};

use crate::{
    error, lineage,
    sql::{self, FileKind, Format, JournalMode},
};

/// A connection that writes, and what the file says of itself.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) format: Format,
    pub(crate) incarnation: u64,
    pub(crate) last_version: u64,
}

/// The one connection that writes. Makes the tables if the file is empty; migrates nothing.
pub(crate) fn writer(path: &Path, wal_limit: u64) -> Result<Opened> {
    let doing = format!("open {}", path.display());
    let failed = |source| error::failed(&doing, &source);
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let format = match sql::file_kind(&connection).map_err(failed)? {
        FileKind::Foreign => {
            let message = format!("{} is an SQLite database, but not one of Keyway's", path.display());
            return Err(Error::new(ErrorCode::INVALID_ARGUMENT, message));
        }
        FileKind::Ours { data_format } => Some(Format::of(data_format).ok_or_else(|| {
            let message = format!(
                "{} has data format {data_format}, and this plugin reads formats 1 to {}; use the plugin version that \
                 wrote it",
                path.display(),
                sql::DATA_FORMAT
            );
            Error::new(ErrorCode::INVALID_ARGUMENT, message)
        })?),
        FileKind::Empty => None,
    };
    set_up(&connection, path, wal_limit)?;
    let format = match format {
        Some(format) => format,
        None => {
            let random = getrandom::u64().and_then(|incarnation| Ok((incarnation, lineage::fresh()?)));
            let (incarnation, mark) = random
                .map_err(|source| Error::new(ErrorCode::INTERNAL, format!("no random bytes: {source}")))?;
            sql::create(&mut connection, incarnation, mark).map_err(failed)?;
            Format::Two
        }
    };
    let incarnation = sql::incarnation(&connection).map_err(failed)?;
    let last_version = sql::last_version(&connection).map_err(failed)?;
    Ok(Opened { connection, format, incarnation, last_version })
}

/// A connection that copies the WAL into the database, and writes nothing else.
pub(crate) fn checkpointer(path: &Path, wal_limit: u64) -> Result<Connection> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE);
    let connection =
        connection.map_err(|source| error::failed(&format!("open {}", path.display()), &source))?;
    set_up(&connection, path, wal_limit)?;
    Ok(connection)
}

/// A connection that reads.
pub(crate) fn reader(path: &Path) -> Result<Connection> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|connection| sql::set_up_reader(&connection).map(|()| connection))
        .map_err(|source| error::failed(&format!("open {} to read", path.display()), &source))
}

/// Reads something, so that the connection is one that SQLite counts when it is closed.
pub(crate) fn touch(connection: &Connection) -> Result<()> {
    sql::incarnation(connection).map(|_| ()).map_err(|source| error::failed("close", &source))
}

/// A read-only connection to any file, also to one that is not a store.
pub(crate) fn plain(path: &Path) -> rusqlite::Result<Connection> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    Connection::open_with_flags(path, mode | flags)
}

fn set_up(connection: &Connection, path: &Path, wal_limit: u64) -> Result<()> {
    match sql::set_up_writer(connection, wal_limit) {
        Ok(JournalMode::Wal) => Ok(()),
        Ok(JournalMode::Other(mode)) => {
            let message = format!(
                "{} cannot be used in WAL mode (it is in mode {mode:?}): put it on a local file system",
                path.display()
            );
            Err(Error::new(ErrorCode::UNAVAILABLE, message))
        }
        Err(source) => Err(error::failed("prepare the database", &source)),
    }
}
