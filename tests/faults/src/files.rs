//! Files with a [`Disk`](crate::Disk) in front of them, for backends that use files themselves.

use std::{
    fs,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    device::{Call, Inner, Reach, Verdict},
    model::Model,
    vfs::disk_of,
};

/// An open file, with the disk of its directory in front of it, if there is one.
pub struct DiskFile {
    disk: Option<Arc<Inner>>,
    path: PathBuf,
    file: fs::File,
}

impl DiskFile {
    /// Opens a file to read and to write, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// The system's, and those of the disk's fault. So it is with the other methods.
    pub fn open(path: &Path) -> io::Result<Self> {
        let disk = disk_of(path);
        let open = || fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = call(disk.as_deref(), Call::Open, 0, |verdict, note| {
            allow(verdict)?;
            let file = open()?;
            note(path, &|_| ());
            Ok(file)
        })?;
        Ok(Self { disk, path: path.to_owned(), file })
    }

    /// All bytes.
    ///
    /// # Errors
    ///
    /// As those of [`open`](Self::open).
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let Self { disk, file, .. } = self;
        call(disk.as_deref(), Call::Read, 0, |verdict, _| {
            allow(verdict)?;
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        })
    }

    /// Writes bytes at a position.
    ///
    /// # Errors
    ///
    /// As those of [`open`](Self::open). Some of the bytes may then have been written.
    pub fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let Self { disk, path, file } = self;
        let grows_by = (at + bytes.len() as u64).saturating_sub(file.metadata()?.len());
        call(disk.as_deref(), Call::Write, grows_by, |verdict, note| {
            let place = usize::try_from(at).map_err(io::Error::other)?;
            if verdict == Verdict::Fail {
                // It may have got there, in part.
                note(path, &|model| model.write(place, bytes));
            }
            allow(verdict)?;
            file.seek(SeekFrom::Start(at))?;
            file.write_all(bytes)?;
            note(path, &|model| model.write(place, bytes));
            Ok(())
        })
    }

    /// Cuts the file.
    ///
    /// # Errors
    ///
    /// As those of [`open`](Self::open).
    pub fn truncate(&mut self, length: u64) -> io::Result<()> {
        let Self { disk, path, file } = self;
        call(disk.as_deref(), Call::Truncate, 0, |verdict, note| {
            let size = usize::try_from(length).map_err(io::Error::other)?;
            if verdict == Verdict::Fail {
                return Err(failed());
            }
            file.set_len(length)?;
            note(path, &|model| model.resize(size));
            Ok(())
        })
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    ///
    /// As those of [`open`](Self::open).
    pub fn sync(&mut self) -> io::Result<()> {
        let Self { disk, path, file } = self;
        call(disk.as_deref(), Call::Sync, 0, |verdict, note| {
            if verdict == Verdict::Fail {
                return Err(failed());
            }
            file.sync_data()?;
            note(path, &Model::sync);
            Ok(())
        })
    }
}

/// Removes a file. Without [`sync_directory`], it may be back after a loss of power.
///
/// # Errors
///
/// As those of [`DiskFile::open`].
pub fn remove(path: &Path) -> io::Result<()> {
    call(disk_of(path).as_deref(), Call::Remove, 0, |verdict, note| {
        allow(verdict)?;
        fs::remove_file(path)?;
        note(path, &|model| model.remove(false));
        Ok(())
    })
}

/// Makes durable which files were removed from a directory.
///
/// # Errors
///
/// As those of [`DiskFile::open`].
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    let Some(disk) = disk_of(directory) else { return Ok(()) };
    let known: Vec<PathBuf> = disk.state().files.keys().cloned().collect();
    let in_directory = known.iter().filter(|path| path.parent() == Some(directory));
    call(Some(&disk), Call::Sync, 0, |verdict, note| {
        if verdict == Verdict::Fail {
            return Err(failed());
        }
        in_directory.for_each(|path| note(path, &Model::sync_removal));
        Ok(())
    })
}

/// Notes a change of the model of a file.
type Note<'a> = &'a mut dyn FnMut(&Path, &dyn Fn(&mut Model));

fn call<T>(
    disk: Option<&Inner>,
    call: Call,
    grows_by: u64,
    work: impl FnOnce(Verdict, Note<'_>) -> io::Result<T>,
) -> io::Result<T> {
    match disk {
        None => work(Verdict::Go, &mut |_, _| ()),
        Some(disk) => disk.call(call, Reach { grows_by, ..Reach::default() }, work),
    }
}

fn allow(verdict: Verdict) -> io::Result<()> {
    match verdict {
        Verdict::Go => Ok(()),
        Verdict::Full => Err(io::ErrorKind::StorageFull.into()),
        Verdict::Fail | Verdict::Short => Err(failed()),
    }
}

fn failed() -> io::Error {
    io::Error::other("the disk has failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disk;

    #[test]
    fn removed_file_is_gone_for_good_only_when_its_directory_was_synced() {
        let survives = |is_synced: bool, seed| {
            let directory = tempfile::tempdir().unwrap();
            let disk = Disk::new(directory.path()).unwrap();
            let path = directory.path().join("file");
            let mut file = DiskFile::open(&path).unwrap();
            file.write_at(b"content", 0).unwrap();
            file.sync().unwrap();
            remove(&path).unwrap();
            if is_synced {
                sync_directory(directory.path()).unwrap();
            }
            disk.lose_power();
            assert!(DiskFile::open(&path).is_err() && file.sync().is_err() && file.read().is_err());
            drop(file);
            disk.settle(seed).unwrap();
            path.exists()
        };
        assert!(!(0..20).any(|seed| survives(true, seed)));
        assert!((0..20).any(|seed| survives(false, seed)) && !(0..20).all(|seed| survives(false, seed)));
    }
}
