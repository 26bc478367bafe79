//! Backups as files: the records of a store at one point in time, in the same form for every backend.
//!
//! ```text
//! magic   "KWARCH1\n"
//! header  u32 length, JSON: see [`Header`]
//! record  u32 length of the keyspace, keyspace (UTF-8), u32 length of the key, key,
//!         u64 expiry (milliseconds since 1970, 0 for none), u32 length of the value, value
//! …
//! end     u32 0xFFFFFFFF, u64 number of records, SHA-256 of everything before it
//! ```
//!
//! Numbers are big-endian. Values are as the store holds them: Keyway's are sealed, and of no use without the
//! shares.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use keyway_abi::{BackupPull, CallContext, Error, ErrorCode, Key, RestoreMode, RestoreRecord, WriteId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{Store, readback};

const MAGIC: &[u8; 8] = b"KWARCH1\n";
const END: u32 = u32::MAX;
/// The longest header, keyspace and key, in bytes.
const SHORT: u32 = 64 * 1024;
/// The longest value, in bytes.
const LONG: u32 = 256 * 1024 * 1024;
/// How much is moved at a time.
const RECORDS: usize = 1_000;
const BYTES: u64 = 4 * 1024 * 1024;

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The backend's name in the configuration.
    pub backend: String,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: semver::Version,
    /// The data format that the store had.
    pub data_format: u32,
    /// When it was made, in seconds since 1970.
    pub made: u64,
}

/// Why an archive could not be written or read.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The file.
    #[error("{doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is damaged, cut off, or no archive.
    #[error("{} is no whole archive: {why}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The problem.
        why: &'static str,
    },
    /// The backend.
    #[error("the backend does not take part")]
    Store(#[from] Error),
}

/// Writes all records of a store to a new file, which is there as a whole or not at all, synced, for its
/// owner alone. Answers how many there were.
///
/// # Errors
///
/// `File` if the archive cannot be written; `Store` if the backup fails.
pub async fn write(store: &Store, header: &Header, path: &Path) -> Result<u64, ArchiveError> {
    let failed = |doing| move |source| ArchiveError::File { doing, path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(failed("make the directory of"))?;
    let mut file =
        tempfile::Builder::new().prefix(".archive-").tempfile_in(directory).map_err(failed("write"))?;
    let records = {
        let mut sink = Sink::begin(BufWriter::new(file.as_file_mut()), header).map_err(failed("write"))?;
        let call = CallContext::background();
        let stream = store.backup(&call).await?;
        loop {
            let max_items = u32::try_from(RECORDS).unwrap_or(u32::MAX);
            let chunk = stream.next(&call, BackupPull { max_items, max_bytes: BYTES }).await?;
            for record in chunk.records().iter().filter(|record| !readback::is_scratch(record.keyspace())) {
                sink.record(&record.as_restore()).map_err(failed("write"))?;
            }
            if chunk.is_done() {
                break;
            }
        }
        sink.end().map_err(failed("write"))?
    };
    file.as_file().sync_all().map_err(failed("sync"))?;
    file.persist_noclobber(path).map_err(|error| failed("put into its place")(error.error))?;
    #[cfg(unix)]
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed("sync the directory of"))?;
    Ok(records)
}

/// What an archive says of itself. Whether it is whole is not known.
///
/// # Errors
///
/// `File` or `Damaged`.
pub fn describe(path: &Path) -> Result<Header, ArchiveError> {
    Source::open(path).map(|source| source.header)
}

/// Reads an archive to its end, and says what it is.
///
/// # Errors
///
/// `File` or `Damaged`.
pub fn verify(path: &Path) -> Result<(Header, u64), ArchiveError> {
    let mut source = Source::open(path)?;
    let mut records = 0;
    while source.next()?.is_some() {
        records += 1;
    }
    Ok((source.header, records))
}

/// Puts the records of an archive into a store, all of them or none. Answers how many. The archive is read to
/// its end first.
///
/// # Errors
///
/// `File` if the archive cannot be read; `Damaged` if its digest is not right; `Store` if the store does not
/// take the records.
pub async fn restore(store: &Store, path: &Path, mode: RestoreMode) -> Result<u64, ArchiveError> {
    verify(path)?;
    let mut source = Source::open(path)?;
    let call = CallContext::background();
    let sink = store.restore(&call, mode).await?;
    let (mut held, mut bytes) = (Vec::new(), 0);
    loop {
        let next = source.next()?;
        let is_end = next.is_none();
        if let Some(record) = next {
            bytes += record.value.len() as u64;
            held.push(record);
        }
        if !held.is_empty() && (is_end || held.len() >= RECORDS || bytes >= BYTES) {
            let records: Vec<_> = held.iter().map(Held::as_restore).collect();
            sink.write(&call, &records).await?;
            held.clear();
            bytes = 0;
        }
        if is_end {
            break;
        }
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Error::new(ErrorCode::INTERNAL, error.to_string()))?;
    Ok(sink.finish(&call, WriteId::new(id)).await?)
}

/// Writes, and hashes what it writes.
struct Sink<W> {
    to: W,
    hash: Sha256,
    records: u64,
}

impl<W: Write> Sink<W> {
    fn begin(to: W, header: &Header) -> io::Result<Self> {
        let mut sink = Self { to, hash: Sha256::new(), records: 0 };
        sink.put(MAGIC)?;
        sink.put_long(serde_json::to_string(header)?.as_bytes(), SHORT)?;
        Ok(sink)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.to.write_all(bytes)
    }

    fn put_long(&mut self, bytes: &[u8], most: u32) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= most);
        let length = length.ok_or_else(|| io::Error::other("a record is too long for an archive"))?;
        self.put(&length.to_be_bytes())?;
        self.put(bytes)
    }

    fn record(&mut self, record: &RestoreRecord<'_>) -> io::Result<()> {
        self.put_long(record.key().keyspace().as_bytes(), SHORT)?;
        self.put_long(record.key().bytes(), SHORT)?;
        self.put(&record.expires_at_ms().unwrap_or_default().to_be_bytes())?;
        self.put_long(record.value(), LONG)?;
        self.records += 1;
        Ok(())
    }

    fn end(mut self) -> io::Result<u64> {
        self.put(&END.to_be_bytes())?;
        let records = self.records;
        self.put(&records.to_be_bytes())?;
        let hash = self.hash.finalize();
        self.to.write_all(&hash)?;
        self.to.flush()?;
        Ok(records)
    }
}

/// A record that was read.
struct Held {
    keyspace: String,
    key: Vec<u8>,
    expires_at_ms: u64,
    value: Vec<u8>,
}

impl Held {
    fn as_restore(&self) -> RestoreRecord<'_> {
        RestoreRecord::new(Key::new(&self.keyspace, &self.key), &self.value, self.expires_at_ms)
    }
}

/// Reads, and checks what it reads.
struct Source {
    path: PathBuf,
    from: BufReader<File>,
    hash: Sha256,
    header: Header,
    records: u64,
}

impl Source {
    fn open(path: &Path) -> Result<Self, ArchiveError> {
        let opened = OpenOptions::new().read(true).open(path);
        let file =
            opened.map_err(|source| ArchiveError::File { doing: "open", path: path.to_owned(), source })?;
        let nothing = Header {
            backend: String::new(),
            plugin: String::new(),
            version: semver::Version::new(0, 0, 0),
            data_format: 0,
            made: 0,
        };
        let mut source = Self {
            path: path.to_owned(),
            from: BufReader::new(file),
            hash: Sha256::new(),
            header: nothing,
            records: 0,
        };
        let mut magic = [0; MAGIC.len()];
        source.take(&mut magic)?;
        if magic != *MAGIC {
            return Err(source.damaged("it does not begin as one"));
        }
        let length = source.number()?;
        let header = source.bytes(length, SHORT)?;
        source.header =
            serde_json::from_slice(&header).map_err(|_| source.damaged("its header cannot be understood"))?;
        Ok(source)
    }

    fn damaged(&self, why: &'static str) -> ArchiveError {
        ArchiveError::Damaged { path: self.path.clone(), why }
    }

    fn take(&mut self, into: &mut [u8]) -> Result<(), ArchiveError> {
        match self.from.read_exact(into) {
            Ok(()) => {
                self.hash.update(&*into);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged("it is cut off")),
            Err(source) => Err(ArchiveError::File { doing: "read", path: self.path.clone(), source }),
        }
    }

    fn number(&mut self) -> Result<u32, ArchiveError> {
        let mut number = [0; 4];
        self.take(&mut number)?;
        Ok(u32::from_be_bytes(number))
    }

    fn long_number(&mut self) -> Result<u64, ArchiveError> {
        let mut number = [0; 8];
        self.take(&mut number)?;
        Ok(u64::from_be_bytes(number))
    }

    /// Reads a field. It allocates no more memory than the file has bytes, even if the field's length says
    /// more.
    fn bytes(&mut self, length: u32, most: u32) -> Result<Vec<u8>, ArchiveError> {
        if length > most {
            return Err(self.damaged("a length in it is too large"));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.from).take(length.into()).read_to_end(&mut bytes);
        read.map_err(|source| ArchiveError::File { doing: "read", path: self.path.clone(), source })?;
        if bytes.len() as u64 != u64::from(length) {
            return Err(self.damaged("it is cut off"));
        }
        self.hash.update(&bytes);
        Ok(bytes)
    }

    /// None at a proper end.
    fn next(&mut self) -> Result<Option<Held>, ArchiveError> {
        let length = self.number()?;
        if length == END {
            self.end()?;
            return Ok(None);
        }
        let keyspace = self.bytes(length, SHORT)?;
        let keyspace = String::from_utf8(keyspace).map_err(|_| self.damaged("a keyspace is no text"))?;
        let length = self.number()?;
        let key = self.bytes(length, SHORT)?;
        let expires_at_ms = self.long_number()?;
        let length = self.number()?;
        let value = self.bytes(length, LONG)?;
        self.records += 1;
        Ok(Some(Held { keyspace, key, expires_at_ms, value }))
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        if self.long_number()? != self.records {
            return Err(self.damaged("it has another number of records than it says"));
        }
        let computed = self.hash.clone().finalize();
        let mut hash = [0; 32];
        self.take(&mut hash)?;
        if hash != *computed {
            return Err(self.damaged("its hash is another"));
        }
        let mut more = [0];
        match self.from.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("something follows its end")),
            Err(source) => Err(ArchiveError::File { doing: "read", path: self.path.clone(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let version = semver::Version::new(1, 2, 3);
        Header { backend: "main".into(), plugin: "sqlite".into(), version, data_format: 1, made: 7 }
    }

    fn archive() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut sink = Sink::begin(&mut bytes, &header()).unwrap();
        sink.record(&RestoreRecord::new(Key::new("a", b"k"), b"value", 0)).unwrap();
        sink.record(&RestoreRecord::new(Key::new("b", b"\0\xff"), b"", 99)).unwrap();
        assert_eq!(sink.end().unwrap(), 2);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<(Header, u64), String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        verify(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn whole_archive_is_read_and_no_other() {
        let whole = archive();
        assert_eq!(read(&whole), Ok((header(), 2)));
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "cut off after {length} bytes");
        }
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            assert!(read(&altered).is_err(), "byte {at}");
        }
        assert!(read(&[&whole[..], b"x"].concat()).unwrap_err().contains("follows its end"));
        assert!(read(b"SQLite format 3\0").unwrap_err().contains("does not begin as one"));
    }

    #[test]
    fn bytes_are_those_of_the_specification() {
        let bytes = archive();
        let text = serde_json::to_string(&header()).unwrap();
        let expected = [
            b"KWARCH1\n",
            &u32::try_from(text.len()).unwrap().to_be_bytes()[..],
            text.as_bytes(),
            b"\0\0\0\x01a\0\0\0\x01k\0\0\0\0\0\0\0\0\0\0\0\x05value",
            b"\0\0\0\x01b\0\0\0\x02\0\xff\0\0\0\0\0\0\0\x63\0\0\0\0",
            b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x02",
        ]
        .concat();
        assert_eq!(bytes[..bytes.len() - 32], expected);
        assert_eq!(bytes[bytes.len() - 32..], *Sha256::digest(&expected));
    }
}
