//! Upgrades an older data format to this version's: first a copy next to the database, then one transaction.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use keyway_sdk::{Error, ErrorCode, Result};
use rusqlite::Connection;

use crate::{
    error,
    files::beside,
    shared::Shared,
    sql::{self, Format},
};

/// Migrates, and answers the format that the store has then. Nothing is written to the store meanwhile.
pub(crate) fn upgrade(connection: &Connection, shared: &Shared) -> Result<u32> {
    let at = shared.versions().at();
    if at.format().number() == sql::DATA_FORMAT {
        return Ok(sql::DATA_FORMAT);
    }
    let database = shared.place().database();
    if let Some(detail) = shared.place().moved() {
        return Err(error::moved(&detail));
    }
    let copy = copy(connection, database, at.format())?;
    tracing::info!(copy = %copy.display(), "the database was copied before its upgrade");
    let failed = |source| error::failed("upgrade", &source);
    let migrated = sql::begin_write(connection)
        .and_then(|()| sql::migrate(connection, shared.versions().last()))
        .map_err(failed)
        .and_then(|last| {
            shared.versions().lineage().commit(connection).map_err(|failure| failure.error("upgrade"))?;
            Ok(last)
        });
    match migrated {
        Ok(last) => {
            shared.versions().migrated(Format::Two, last);
            tracing::info!(
                from = at.format().number(),
                to = sql::DATA_FORMAT,
                "the data format was upgraded"
            );
            Ok(sql::DATA_FORMAT)
        }
        Err(error) => {
            sql::rollback(connection).map_err(failed)?;
            Err(error)
        }
    }
}

/// A whole, checked and synced copy of the database, readable by its owner alone. It stays until the operator
/// removes it.
fn copy(connection: &Connection, database: &Path, format: Format) -> Result<PathBuf> {
    let failed = |source| error::file("copy the database before its upgrade", &source);
    let (path, file) = new_file(database, format).map_err(failed)?;
    let text = path
        .to_str()
        .ok_or_else(|| Error::new(ErrorCode::INVALID_ARGUMENT, format!("{} is not UTF-8", path.display())))?;
    let copied = sql::copy_into(connection, text)
        .map_err(|source| error::failed("copy the database before its upgrade", &source))
        .and_then(|()| check(&path))
        .and_then(|()| file.sync_all().and_then(|()| sync_directory(&path)).map_err(failed));
    if let Err(error) = copied {
        if let Err(source) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %source, "half a copy could not be removed");
        }
        return Err(error);
    }
    Ok(path)
}

fn check(copy: &Path) -> Result<()> {
    let failed = |source| error::failed("check the copy of the database", &source);
    let connection = crate::connect::plain(copy).map_err(failed)?;
    match sql::integrity(&connection).map_err(failed)?.as_str() {
        "ok" => Ok(()),
        problem => {
            Err(Error::new(ErrorCode::CORRUPT, format!("the copy of the database is damaged: {problem}")))
        }
    }
}

/// `keyway.db.format-1`, with a number added if that file exists already.
fn new_file(database: &Path, format: Format) -> io::Result<(PathBuf, File)> {
    let mut tried = 0;
    loop {
        let number = if tried == 0 { String::new() } else { format!(".{tried}") };
        let path = beside(database, &format!(".format-{}{number}", format.number()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tried < 1_000 => tried += 1,
            opened => return opened.map(|file| (path, file)),
        }
    }
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Directories cannot be synced here.
#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}
