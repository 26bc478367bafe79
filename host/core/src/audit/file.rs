//! A file that is written at its end: opened again when it was moved away or deleted, and a FIFO like a file.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    chain::Chain,
    sink::{Sink, Started},
};

/// How much of the end of a file is read at first to find its last line.
const TAIL_BYTES: u64 = 1024 * 1024;
/// The most bytes to read: far more than a line has, and the pieces after it.
const MOST_TAIL_BYTES: u64 = 64 * 1024 * 1024;
/// What the file of an audit log begins with.
const ENTRY: &[u8] = b"{\"time\":\"";

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
                format!("no audit log lies in {}, which holds data, plugins or devices", forbidden.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        // A FIFO is not opened for reading: it would be its own reader.
        let is_fifo = fs::symlink_metadata(&self.path).is_ok_and(|metadata| is_fifo(metadata.file_type()));
        let mut options = OpenOptions::new();
        options.append(true).create(!is_fifo).read(!is_fifo);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;

            use rustix::fs::OFlags;
            // A FIFO without a reader is an error at once.
            options.mode(self.mode).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        }
        let file = options.open(&self.path)?;
        let kind = file.metadata()?.file_type();
        if is_fifo != self::is_fifo(kind) || !(is_fifo || kind.is_file()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a file nor a FIFO"));
        }
        if kind.is_file() {
            file.try_lock().map_err(|error| {
                let error = io::Error::from(error);
                io::Error::new(error.kind(), "another process writes to it")
            })?;
        }
        Ok(file)
    }
}

/// Where the chain of a file ends, and whether its last line is a piece of one.
fn end(mut file: &File) -> io::Result<Started> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Started::default());
    }
    let length = metadata.len();
    if length == 0 {
        return Ok(Started { is_torn: Some(false), chain: None });
    }
    let foreign =
        || io::Error::new(io::ErrorKind::InvalidData, "the file holds something else than an audit log");
    let mut first = [0; ENTRY.len()];
    let known = usize::try_from(length).unwrap_or(usize::MAX).min(first.len());
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(first.get_mut(..known).unwrap_or_default())?;
    if !ENTRY.starts_with(first.get(..known).unwrap_or_default()) {
        return Err(foreign());
    }
    let mut seen = TAIL_BYTES;
    loop {
        file.seek(SeekFrom::Start(length.saturating_sub(seen)))?;
        let mut tail = Vec::new();
        file.take(seen).read_to_end(&mut tail)?;
        if let Some(started) = ended(&tail, seen >= length) {
            return Ok(started);
        }
        if seen >= length.min(MOST_TAIL_BYTES) {
            return Err(foreign());
        }
        seen *= 8;
    }
}

/// The end of the chain in the tail of a file: after its last line, and after the pieces of lines that
/// follow. None if the line begins before the tail.
fn ended(tail: &[u8], is_all: bool) -> Option<Started> {
    let is_torn = tail.last() != Some(&b'\n');
    let mut lines: Vec<&[u8]> = tail.split(|byte| *byte == b'\n').collect();
    if !is_torn {
        // The text after the last newline.
        lines.pop();
    }
    let last = lines.iter().enumerate().rev().find_map(|(index, line)| Some((index, Chain::at(line)?)));
    let (behind, chain) = match last {
        Some((index, chain)) => (index + 1, chain),
        None if is_all => (0, Chain::default()),
        None => return None,
    };
    let chain = lines.iter().skip(behind).fold(chain, |chain, piece| chain.then(piece));
    Some(Started { chain: Some(chain), is_torn: Some(is_torn) })
}

impl Sink for FileSink {
    fn ready(&mut self) -> io::Result<Option<Started>> {
        if self.is_current() {
            return Ok(None);
        }
        self.close();
        let file = self.open()?;
        let started = end(&file)?;
        self.open = Some(file);
        Ok(Some(started))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.open.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        match file.write(bytes) {
            #[cfg(unix)]
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                super::sink::wait_until_writable(file)?;
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
            // Closing it is not enough: a process that was forked for another program holds it until that
            // program runs. What was never locked says so.
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
    fn chain_goes_on_behind_whole_lines_and_any_number_of_pieces() {
        let first = Chain::default().next_line("{\"a\":1}", 0);
        let bare = first.trim_end();
        let behind = Chain::default().then(bare.as_bytes());
        let ended = |text: &str| ended(text.as_bytes(), true).map(|started| (started.chain, started.is_torn));
        assert_eq!(ended(&first), Some((Some(behind.clone()), Some(false))));
        // Only the newline is missing: the line counts.
        assert_eq!(ended(bare), Some((Some(behind.clone()), Some(true))));
        let once = behind.then(b"{\"b\"");
        assert_eq!(ended(&format!("{first}{{\"b\"")), Some((Some(once.clone()), Some(true))));
        assert_eq!(ended(&format!("{first}{{\"b\"\n")), Some((Some(once.clone()), Some(false))));
        let twice = once.then(b"{\"c");
        assert_eq!(ended(&format!("{first}{{\"b\"\n{{\"c")), Some((Some(twice), Some(true))));
        let alone = Chain::default().then(b"{\"ti");
        assert_eq!(ended("{\"ti"), Some((Some(alone), Some(true))));
        assert!(super::ended(b"{\"half of a long one", false).is_none());
    }
}
