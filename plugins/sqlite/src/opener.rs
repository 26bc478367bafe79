//! The lock that keeps a second opener out.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use keyway_sdk::{Error, ErrorCode};

use crate::{
    files::{self, FilesError},
    pairing::{self, PairingError},
};

/// Keeps every other opener out for as long as it lives: another process, and another copy of this library in the
/// same process, whose POSIX locks SQLite could not see.
#[derive(Debug)]
pub(crate) struct OpenerLock {
    file: File,
}

impl Drop for OpenerLock {
    fn drop(&mut self) {
        // Closing it is not enough: a process that was forked for another program holds it until that program
        // runs.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the lock of the database ends with its file");
        }
    }
}

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenerError {
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Pairing(#[from] PairingError),
    #[error("{} is in use by {holder}; only one opener is possible at a time", path.display())]
    InUse { path: PathBuf, holder: String },
}

impl OpenerError {
    /// In the interface's words.
    pub(crate) fn into_error(self) -> Error {
        let code = match &self {
            Self::InUse { .. } => ErrorCode::UNAVAILABLE,
            Self::Files(FilesError::File { .. }) => ErrorCode::UNAVAILABLE,
            Self::Files(_) | Self::Pairing(_) => ErrorCode::INVALID_ARGUMENT,
        };
        Error::new(code, self.to_string())
    }
}

/// Takes the lock, makes the database's file if neither it nor a part of a store exists, and answers its path
/// without links.
pub(crate) fn prepare(
    path: &Path,
    allow_network: bool,
    backend: &str,
) -> Result<(PathBuf, OpenerLock), OpenerError> {
    let path = files::real_path(path)?;
    let lock = lock(&path, backend)?;
    pairing::check(&path)?;
    files::private_file(&path)?;
    files::check_file_system(&path, allow_network)?;
    Ok((path, lock))
}

/// Takes the lock file next to the database, for the backend of that name. The operating system holds the
/// lock, so it ends with its process, even after a crash. The file's contents only serve the next opener's
/// error text.
fn lock(database: &Path, backend: &str) -> Result<OpenerLock, OpenerError> {
    let path = files::beside(database, ".lock");
    let mut file = files::private_file(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = read_holder(&mut file);
            return Err(OpenerError::InUse { path: database.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(FilesError::File { path, source }.into()),
    }
    let program = std::env::current_exe().ok();
    let program =
        program.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let holder = format!(
        "process {} ({}), as its backend {backend:?}\n",
        std::process::id(),
        program.as_deref().unwrap_or("unknown")
    );
    let written = file.set_len(0).and_then(|()| file.write_all(holder.as_bytes()));
    if let Err(source) = written {
        // On a full disk the lock holds all the same.
        tracing::warn!(path = %path.display(), %source, "the lock's holder could not be written down");
    }
    Ok(OpenerLock { file })
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(512).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_opener_is_refused_with_the_holder_and_admitted_after_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.db");
        let first = lock(&path, "main").unwrap();
        let refused = lock(&path, "other").unwrap_err().to_string();
        assert!(refused.contains(&format!("process {} (", std::process::id())), "{refused}");
        assert!(refused.contains("backend \"main\""), "{refused}");
        // As a process has it that was forked and does not run its program yet.
        let inherited = first.file.try_clone().unwrap();
        drop(first);
        lock(&path, "other").unwrap();
        drop(inherited);
    }
}
