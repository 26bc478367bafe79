//! The log in its files: frames with checksums, appended and synced.
//!
//! A file begins with a header: the format and a random salt. Frames follow, each with the salt, the length and the
//! checksum of its payload. The first frames of a file hold all records of the time when it was made, and the last of
//! them says that they are complete. Every later frame is a group of changes, synced before the next one is written.
//!
//! So what follows the last good frame was never acknowledged, and is cut off. A bad frame before a good one is damage.
//! If a new file is not complete, its maker has died, and the older file has everything: it is removed only when the
//! new one is complete, and before the new one takes a change.

use std::path::{Path, PathBuf};

use keyway_sdk::{Error, ErrorCode, Result};

use crate::log_disk::{self, File};

/// The format that this version writes.
pub(crate) const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"kwlog\0\r\n";
/// Magic, format, salt.
const HEADER_BYTES: usize = 8 + 4 + 8;
/// Salt, length, checksum.
const FRAME_BYTES: usize = 8 + 4 + 4;
/// A file without a record: the header, and the frame that says that it is complete.
const EMPTY_FILE_BYTES: usize = HEADER_BYTES + FRAME_BYTES + 1;

/// A file that is shorter is not replaced for its length.
const SHORT_FILE_BYTES: u64 = 64 * 1024;

/// What a frame is for: its first byte.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Kind {
    Records = 1,
    Complete = 2,
    Changes = 3,
}

/// The file that takes changes.
pub(crate) struct LogFile {
    directory: PathBuf,
    number: u64,
    file: Box<dyn File>,
    salt: [u8; 8],
    /// Where the next frame goes.
    end: u64,
    /// How long the file was when it was made, or when its replacement was put off.
    made: u64,
    /// Whether the file may have a frame that was not acknowledged, or another file may be taken for the log.
    is_doubtful: bool,
}

impl LogFile {
    /// Opens the log of a directory, and hands the payload of each frame to `replay`. If there is none, makes one.
    pub(crate) fn open(directory: &Path, mut replay: impl FnMut(&[u8]) -> Result<()>) -> Result<Self> {
        let numbers = log_disk::list(directory)?;
        // Without a file, or with one that its maker did not finish, nothing was ever acknowledged.
        let mut is_new = matches!(numbers.as_slice(), [] | [1]);
        for &number in &numbers {
            let mut file = log_disk::disk().open(&log_disk::path(directory, number))?;
            let bytes = file.read()?;
            let Some(content) = Content::of(&bytes)? else {
                is_new &= bytes.len() <= EMPTY_FILE_BYTES;
                continue;
            };
            for payload in content.payloads {
                replay(payload)?;
            }
            let end = content.end as u64;
            if content.end < bytes.len() {
                file.truncate(end)?;
            }
            // What was read may be in the system's cache alone, if a sync has failed before: write it again.
            file.write_at(bytes.get(..content.end).unwrap_or_default(), 0)?;
            file.sync()?;
            let directory = directory.to_owned();
            let made = content.made as u64;
            let mut log = Self { directory, number, file, salt: content.salt, end, made, is_doubtful: false };
            log.remove_others()?;
            return Ok(log);
        }
        if is_new {
            return Self::make(directory, 1, std::iter::empty());
        }
        let message = format!("no file of the log in {} is complete", directory.display());
        Err(Error::new(ErrorCode::CORRUPT, message))
    }

    /// Makes a new file with these records, which replaces the present one.
    pub(crate) fn replace(&mut self, records: impl Iterator<Item = Vec<u8>>) -> Result<()> {
        match Self::make(&self.directory, self.number + 1, records) {
            Ok(new) => {
                *self = new;
                self.remove_others()
            }
            Err(error) => {
                // If only its sync has failed, it may be complete: it must not be taken for the log later.
                let was_doubtful = self.is_doubtful;
                if self.remove_others().is_ok() {
                    self.is_doubtful = was_doubtful;
                }
                Err(error)
            }
        }
    }

    /// Appends a group of changes, and syncs it. An error with a known outcome has changed nothing.
    pub(crate) fn append(&mut self, changes: &[u8]) -> Result<()> {
        let frame = frame(self.salt, Kind::Changes, changes)?;
        if let Err(error) = self.file.write_at(&frame, self.end) {
            // Without this frame's last byte, no one takes it for a frame.
            let is_undone = self.file.truncate(self.end).is_ok();
            self.is_doubtful |= !is_undone;
            let error = Error::from(error);
            return Err(if is_undone { error.not_applied() } else { error });
        }
        if let Err(error) = self.file.sync() {
            self.is_doubtful = true;
            return Err(error.into());
        }
        self.end += frame.len() as u64;
        Ok(())
    }

    /// Whether the file must be replaced before the next change.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Puts off the replacement of a long file, until it has doubled again.
    pub(crate) fn postpone(&mut self) {
        self.made = self.end;
    }

    /// Whether most of the file may be history: it has doubled since it was made.
    pub(crate) fn is_long(&self) -> bool {
        self.end > SHORT_FILE_BYTES.max(2 * self.made)
    }

    fn make(directory: &Path, number: u64, records: impl Iterator<Item = Vec<u8>>) -> Result<Self> {
        let disk = log_disk::disk();
        let mut file = disk.open(&log_disk::path(directory, number))?;
        file.truncate(0)?;
        let salt = salt()?;
        let mut end = 0;
        let mut write = |bytes: &[u8]| -> Result<()> {
            file.write_at(bytes, end)?;
            end += bytes.len() as u64;
            Ok(())
        };
        write(&[&MAGIC[..], &FORMAT.to_le_bytes(), &salt].concat())?;
        for payload in records {
            write(&frame(salt, Kind::Records, &payload)?)?;
        }
        write(&frame(salt, Kind::Complete, &[])?)?;
        file.sync()?;
        disk.sync_directory(directory)?;
        Ok(Self { directory: directory.to_owned(), number, file, salt, end, made: end, is_doubtful: false })
    }

    /// Removes older files, which this one has replaced, and newer ones, which are incomplete.
    fn remove_others(&mut self) -> Result<()> {
        let disk = log_disk::disk();
        self.is_doubtful = true;
        // This file is there for good before the others go.
        disk.sync_directory(&self.directory)?;
        for number in log_disk::list(&self.directory)? {
            if number != self.number {
                disk.remove(&log_disk::path(&self.directory, number))?;
            }
        }
        disk.sync_directory(&self.directory)?;
        self.is_doubtful = false;
        Ok(())
    }
}

/// What a file holds.
struct Content<'a> {
    salt: [u8; 8],
    /// Of the frames with records and changes.
    payloads: Vec<&'a [u8]>,
    /// Where the last good frame ends.
    end: usize,
    /// Where the frame ends that says that the records are complete.
    made: usize,
}

impl<'a> Content<'a> {
    /// None if the file is not complete.
    fn of(bytes: &'a [u8]) -> Result<Option<Self>> {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let (magic, rest) = header.split_at(MAGIC.len());
        let (format, salt) = rest.split_at(4);
        if magic != MAGIC {
            return Ok(None);
        }
        let format = u32::from_le_bytes(format.try_into().unwrap_or_default());
        if format > FORMAT {
            let message = format!("the log has format {format}; this version reads up to {FORMAT}");
            return Err(Error::new(ErrorCode::UNSUPPORTED, message));
        }
        let salt: [u8; 8] = salt.try_into().unwrap_or_default();
        let (mut payloads, mut end, mut made) = (Vec::new(), HEADER_BYTES, None);
        while let Some((kind, payload, next)) = parse(bytes, end, salt) {
            if kind == Kind::Complete as u8 {
                made = Some(next);
            } else {
                payloads.push(payload);
            }
            end = next;
        }
        let Some(made) = made else { return Ok(None) };
        if has_frame_after(bytes, end, salt) {
            return Err(Error::new(ErrorCode::CORRUPT, format!("the log is damaged at byte {end}")));
        }
        Ok(Some(Self { salt, payloads, end, made }))
    }
}

/// Kind, payload and end of the frame at a position, if it is good.
fn parse(bytes: &[u8], at: usize, salt: [u8; 8]) -> Option<(u8, &[u8], usize)> {
    let rest = bytes.get(at..)?.strip_prefix(&salt)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let body = rest.get(..length)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (kind, payload) = body.split_first()?;
    Some((*kind, payload, at + FRAME_BYTES + length))
}

/// Whether a good frame begins after a position. The salt is random, so that no value looks like one.
fn has_frame_after(bytes: &[u8], at: usize, salt: [u8; 8]) -> bool {
    let candidates = bytes.windows(salt.len()).enumerate().skip(at + 1);
    candidates.filter(|(_, window)| *window == salt).any(|(at, _)| parse(bytes, at, salt).is_some())
}

fn frame(salt: [u8; 8], kind: Kind, payload: &[u8]) -> Result<Vec<u8>> {
    let mut body = vec![kind as u8];
    body.extend_from_slice(payload);
    let too_large = |_| Error::new(ErrorCode::TOO_LARGE, "the writes of one group have more than 4 GiB");
    let length = u32::try_from(body.len()).map_err(too_large)?;
    Ok([&salt[..], &length.to_le_bytes(), &crc32fast::hash(&body).to_le_bytes(), &body].concat())
}

fn salt() -> Result<[u8; 8]> {
    getrandom::u64().map(u64::to_le_bytes).map_err(|source| {
        Error::new(ErrorCode::INTERNAL, format!("the system gives no random bytes: {source}"))
    })
}
