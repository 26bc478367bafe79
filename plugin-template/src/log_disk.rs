//! The seam between the log and the file system. A test can put a disk here that fails and loses power.

use std::{
    fs,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// Set before a store is opened, it is the disk of all stores of the process; else this is the file system.
pub static DISK: OnceLock<Arc<dyn Disk>> = OnceLock::new();

/// Where the files are.
pub trait Disk: Send + Sync {
    /// Opens a file to read and to write, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// The system's, as those of the other methods.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes it durable which files the directory has.
    ///
    /// # Errors
    ///
    /// The system's.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// An open file.
pub trait File: Send {
    /// All bytes.
    ///
    /// # Errors
    ///
    /// The system's.
    fn read(&mut self) -> io::Result<Vec<u8>>;

    /// Writes bytes at a position.
    ///
    /// # Errors
    ///
    /// The system's. Some of the bytes may have been written.
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    ///
    /// The system's.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    ///
    /// The system's. No one knows then what is durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// The disk of this process.
pub(crate) fn disk() -> Arc<dyn Disk> {
    DISK.get().cloned().unwrap_or_else(|| Arc::new(FileSystem))
}

/// The numbers of the log's files in a directory, from the newest to the oldest.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    Ok(numbers)
}

/// The path of the file with a number.
pub(crate) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.log"))
}

struct FileSystem;

impl Disk for FileSystem {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Box::new(SystemFile(file)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        // Elsewhere, a directory cannot be opened, and need not be.
        if cfg!(unix) { fs::File::open(directory)?.sync_all() } else { Ok(()) }
    }
}

struct SystemFile(fs::File);

impl File for SystemFile {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.rewind()?;
        self.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.seek(SeekFrom::Start(at))?;
        self.0.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
