//! The file of a history, and the lock for reading and changing it. An attacker who has taken over the server
//! may have put files into the directory, and root reads it. So links are not followed, and only files that
//! were made here are given away.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use super::records::Records;
use crate::stage;

/// The longest file that is read.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Reads the records; none if there is no file. A damaged one is an error of kind `InvalidData`.
pub(super) fn read(path: &Path) -> io::Result<Records> {
    let mut text = Vec::new();
    match open(path) {
        Ok(file) => file.take(MAX_BYTES).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Records::default()),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Changes the records, under the lock. A damaged file is put aside, and a new one begun.
pub(super) fn edit<T>(
    path: &Path,
    directory: &Path,
    change: impl FnOnce(&mut Records) -> T,
) -> io::Result<T> {
    // Root may change the history of a server that is another user's.
    if !directory.is_dir() {
        stage::make_private(directory)?;
    }
    let _lock = exclusive(&directory.join("history.lock"), directory)?;
    let mut records = match read(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let aside = path.with_extension("damaged");
            fs::rename(path, &aside)?;
            tracing::warn!(path = %aside.display(), %error, "the history of plugins is damaged, and begun again");
            Records::default()
        }
        read => read?,
    };
    let answer = change(&mut records);
    let mut file = tempfile::Builder::new().prefix(".history-").tempfile_in(directory)?;
    file.write_all(&serde_json::to_vec_pretty(&records)?)?;
    file.as_file().sync_all()?;
    give_to_owner(file.as_file(), directory)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(answer)
}

/// A file of this directory: no link, and nothing that keeps a reader waiting.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    regular(&options, path)
}

fn regular(options: &fs::OpenOptions, path: &Path) -> io::Result<File> {
    let mut options = options.clone();
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// Holds until it is dropped.
fn exclusive(path: &Path, directory: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.append(true);
    let file = match regular(options.clone().create_new(true), path) {
        Ok(made) => {
            give_to_owner(&made, directory)?;
            made
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => regular(&options, path)?,
        Err(error) => return Err(error),
    };
    file.lock()?;
    Ok(file)
}

/// What root makes in another user's directory belongs to that user: the server must be able to read it.
#[cfg(unix)]
fn give_to_owner(file: &File, directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let owner = fs::metadata(directory)?;
    let is_foreign = rustix::process::geteuid().is_root() && owner.uid() != 0;
    if is_foreign { fchown(file, Some(owner.uid()), Some(owner.gid())) } else { Ok(()) }
}

#[cfg(not(unix))]
fn give_to_owner(_file: &File, _directory: &Path) -> io::Result<()> {
    Ok(())
}
