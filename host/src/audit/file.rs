//! A file that is written at its end: opened again when it was moved away or deleted, and a FIFO like a file.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    chain::Chain,
    device::{Sink, Started},
};

/// How much of the end of a file is read to find its last line; no line is longer.
const TAIL_BYTES: u64 = 1024 * 1024;

/// A file device.
pub(super) struct FileSink {
    path: PathBuf,
    mode: u32,
    forbidden: Vec<PathBuf>,
    open: Option<File>,
}

impl FileSink {
    pub(super) fn new(path: PathBuf, mode: u32, forbidden: Vec<PathBuf>) -> Self {
        Self { path, mode, forbidden, open: None }
    }

    /// Whether the file that is open still stands where it should.
    fn is_current(&self) -> bool {
        let Some(open) = &self.open else { return false };
        match (open.metadata(), fs::metadata(&self.path)) {
            (Ok(open), Ok(there)) => is_same(&open, &there),
            _ => false,
        }
    }

    fn open(&self) -> io::Result<File> {
        let parent = self.path.parent().unwrap_or(Path::new("/")).canonicalize()?;
        let is_inside = |forbidden: &&PathBuf| {
            let forbidden = forbidden.canonicalize();
            forbidden.is_ok_and(|forbidden| parent.starts_with(forbidden))
        };
        if let Some(forbidden) = self.forbidden.iter().find(is_inside) {
            let message =
                format!("no audit log lies in {}, which holds data or plugins", forbidden.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;

            use rustix::fs::OFlags;
            // A FIFO without a reader is an error at once.
            options.mode(self.mode).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        }
        let file = options.open(&self.path)?;
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !is_fifo(kind) {
            let message = "it is neither a file nor a FIFO";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if kind.is_file() {
            file.try_lock().map_err(|error| {
                let error = io::Error::from(error);
                io::Error::new(error.kind(), "somebody else writes to it")
            })?;
        }
        Ok(file)
    }

    /// Where the file's chain ends, and whether its last line is a piece of one.
    fn end(&self, file: &File) -> io::Result<Started> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(Started::default());
        }
        if metadata.len() == 0 {
            return Ok(Started { is_torn: Some(false), chain: None });
        }
        let mut file = File::open(&self.path)?;
        let mut first = [0];
        file.read_exact(&mut first)?;
        if first != *b"{" {
            let message = "the file holds something else than an audit log";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        file.seek(SeekFrom::Start(metadata.len().saturating_sub(TAIL_BYTES)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        Ok(ended(&tail))
    }
}

/// Where the chain ends in the end of a file.
fn ended(tail: &[u8]) -> Started {
    let whole = tail.iter().rposition(|byte| *byte == b'\n');
    let (lines, piece) = match whole {
        Some(newline) => {
            (tail.get(..newline).unwrap_or_default(), tail.get(newline + 1..).unwrap_or_default())
        }
        None => (&[][..], tail),
    };
    let last = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let chain = Chain::at(last);
    let is_torn = !piece.is_empty();
    let chain = match (chain, is_torn) {
        (chain, false) => chain,
        // Whole but for its newline.
        (_, true) if Chain::at(piece).is_some() => Chain::at(piece),
        (chain, true) => Some(chain.unwrap_or_default().behind(piece)),
    };
    Started { chain, is_torn: Some(is_torn) }
}

impl Sink for FileSink {
    fn ready(&mut self) -> io::Result<Option<Started>> {
        if self.is_current() {
            return Ok(None);
        }
        self.close();
        let file = self.open()?;
        let started = self.end(&file)?;
        self.open = Some(file);
        Ok(Some(started))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.open.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        match file.write(bytes) {
            #[cfg(unix)]
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                super::device::wait_until_writable(file)?;
                Ok(0)
            }
            written => written,
        }
    }

    fn failed(&mut self, error: &io::Error) -> bool {
        // The reader of a FIFO would take its closing for the end.
        if error.kind() != io::ErrorKind::TimedOut {
            self.close();
        }
        true
    }

    fn close(&mut self) {
        if let Some(file) = self.open.take() {
            // Closing it is not enough: a process that was forked for another program holds it until that program runs.
            // What was never locked says so.
            let _unlocked = file.unlock();
        }
    }
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_one: &Metadata, _other: &Metadata) -> bool {
    // A file that is open can be neither moved nor deleted.
    true
}

#[cfg(unix)]
fn is_fifo(kind: fs::FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&kind)
}

#[cfg(not(unix))]
fn is_fifo(_kind: fs::FileType) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_goes_on_behind_whole_lines_pieces_and_what_is_no_chain() {
        let first = Chain::default().next_line("{\"a\":1}", 0);
        let bare = first.trim_end();
        let behind = Chain::default().behind(bare.as_bytes());
        let started = ended(first.as_bytes());
        assert_eq!((started.chain, started.is_torn), (Some(behind.clone()), Some(false)));
        // Only the newline is missing: the line counts.
        let started = ended(bare.as_bytes());
        assert_eq!((started.chain, started.is_torn), (Some(behind.clone()), Some(true)));
        let started = ended(format!("{first}{{\"b\"").as_bytes());
        assert_eq!((started.chain, started.is_torn), (Some(behind.behind(b"{\"b\"")), Some(true)));
        let started = ended(b"{\"other\":1}\n");
        assert_eq!((started.chain, started.is_torn), (None, Some(false)));
    }
}
