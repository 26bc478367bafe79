//! The files: made private, opened without following links, and locked against a second opener.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Keeps every other opener out for as long as it lives: another process, and another copy of this library in the
/// same process, whose POSIX locks SQLite could not see.
#[derive(Debug)]
pub(crate) struct OpenerLock {
    _file: File,
}

/// Why the files could not be had.
#[derive(Debug, Error)]
pub(crate) enum OpenerError {
    #[error("{} is a symbolic link; name the file itself", path.display())]
    Link { path: PathBuf },
    #[error("{} cannot be made or opened: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} is in use by {holder}; only one opener is possible at a time", path.display())]
    InUse { path: PathBuf, holder: String },
}

/// Makes the database's file if it does not exist, readable by its owner alone, and takes the lock beside it.
///
/// Answers the path without links in its directories, which SQLite would refuse anywhere in it; the file itself must
/// not be one.
pub(crate) fn prepare(path: &Path) -> Result<(PathBuf, OpenerLock), OpenerError> {
    let path = real_path(path).map_err(|source| OpenerError::File { path: path.to_owned(), source })?;
    let lock = lock(&path)?;
    refuse_link(&path)?;
    private_file(&path).map_err(|source| OpenerError::File { path: path.clone(), source })?;
    Ok((path, lock))
}

fn real_path(path: &Path) -> io::Result<PathBuf> {
    let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "it has no file name");
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(directory.canonicalize()?.join(path.file_name().ok_or_else(no_name)?))
}

fn lock(database: &Path) -> Result<OpenerLock, OpenerError> {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    refuse_link(&path)?;
    let failed = |source| OpenerError::File { path: path.clone(), source };
    let mut file = private_file(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = read_holder(&mut file);
            return Err(OpenerError::InUse { path: database.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(OpenerError::File { path, source }),
    }
    // Only for the error text of the next one: the lock is the flock, which ends with its process.
    file.set_len(0).map_err(failed)?;
    file.write_all(format!("process {}\n", std::process::id()).as_bytes()).map_err(failed)?;
    Ok(OpenerLock { _file: file })
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(64).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

fn refuse_link(path: &Path) -> Result<(), OpenerError> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => Err(OpenerError::Link { path: path.to_owned() }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(OpenerError::File { path: path.to_owned(), source }),
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_opener_is_refused_with_the_holder_and_admitted_after_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.db");
        let first = prepare(&path).unwrap();
        let refused = prepare(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        prepare(&path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn files_are_private_and_links_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.db");
        let (_, _lock) = prepare(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let link = directory.path().join("l.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(prepare(&link), Err(OpenerError::Link { .. })));
        let linked = directory.path().join("linked");
        std::os::unix::fs::symlink(directory.path(), &linked).unwrap();
        let (real, _lock) = prepare(&linked.join("m.db")).unwrap();
        assert_eq!(real, directory.path().canonicalize().unwrap().join("m.db"));
    }
}
