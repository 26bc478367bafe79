//! Checks whether the files belong together: refuses a database that was put back next to the WAL or the
//! journal of another state.
//!
//! Files are refused only if they prove that they do not belong together. A store that crashed at any step
//! opens: pages of the database may be torn, as long as the WAL holds them. Files that cannot be read here
//! are left to SQLite. The files are only read. A `-shm` needs no check: the first connection makes it again
//! from the WAL.

mod bytes;
mod meta;
mod wal;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use self::{
    bytes::{existing, number},
    meta::Marks,
    wal::Wal,
};
use crate::files::beside;

/// How often to look again if another process has begun the WAL again meanwhile.
const ATTEMPTS: usize = 3;
/// SQLite's formats: <https://www.sqlite.org/fileformat2.html>.
const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
const JOURNAL_MAGIC: &[u8] = &[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// The page of `meta`, the first table that a new file gets.
const META_PAGE: u32 = 2;

/// Why the files do not belong together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PairingError {
    #[error(
        "{} and {} are not of the same state of the store: one of them was put back or copied without the other, and to open \
         them would mix two states. Stop whatever uses them; then put both back from the same copy, or, if the database was \
         copied whole (by .backup or VACUUM INTO, or after a clean stop), move {} away",
        path.display(), other.display(), other.display()
    )]
    OtherState { path: PathBuf, other: PathBuf },
    #[error(
        "{} is missing or empty, and {} holds writes of a store: put the database back that it belongs to, or, for a new \
         store, move {} away",
        path.display(), other.display(), other.display()
    )]
    NoDatabase { path: PathBuf, other: PathBuf },
}

/// Checks the files next to the database, before SQLite opens any of them.
pub(crate) fn check(path: &Path) -> Result<(), PairingError> {
    for _ in 0..ATTEMPTS {
        let found = look(path);
        match found {
            Ok(Found { problem: None, .. }) => return Ok(()),
            // The WAL is still the same: no other process has copied it into the database meanwhile.
            Ok(Found { problem: Some(problem), wal }) if wal::header(path).ok().as_ref() == Some(&wal) => {
                return Err(problem);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the files of the database were not compared");
                return Ok(());
            }
        }
    }
    Ok(())
}

struct Found {
    problem: Option<PairingError>,
    /// The WAL's header.
    wal: Option<Vec<u8>>,
}

fn look(path: &Path) -> io::Result<Found> {
    let database = Database::read(path)?;
    let header = wal::header(path)?;
    let other = |suffix| PairingError::OtherState { path: path.to_owned(), other: beside(path, suffix) };
    if database.is_undone_by(&beside(path, "-journal"))? {
        return Ok(Found { problem: Some(other("-journal")), wal: header });
    }
    let Some(wal) = Wal::read(path, META_PAGE)? else { return Ok(Found { problem: None, wal: header }) };
    let problem = if database.bytes == 0 {
        Some(PairingError::NoDatabase { path: path.to_owned(), other: beside(path, "-wal") })
    } else if database.has_other_marks(&wal)? || database.is_no_longer_in_wal_mode(path, &wal)? {
        Some(other("-wal"))
    } else {
        None
    };
    Ok(Found { problem, wal: header })
}

/// The database's file as it is, without what the WAL holds.
struct Database {
    file: Option<File>,
    bytes: u64,
    header: [u8; HEADER_BYTES],
}

/// How a database keeps its journal, as its header says.
const WAL_MODE: [u8; 2] = [2, 2];
const ROLLBACK_MODE: [u8; 2] = [1, 1];

impl Database {
    fn read(path: &Path) -> io::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        let Some(mut file) = existing(path)? else { return Ok(Self { file: None, bytes: 0, header }) };
        let bytes = file.metadata()?.len();
        if bytes > 0 {
            file.read_exact(&mut header)?;
        }
        Ok(Self { file: Some(file), bytes, header })
    }

    fn mode(&self) -> Option<[u8; 2]> {
        let is_database = self.header.starts_with(MAGIC);
        self.header.get(18..20).and_then(|mode| mode.try_into().ok()).filter(|_| is_database)
    }

    fn page_bytes(&self) -> u64 {
        match number(&self.header, 16, 2) {
            Some(1) => 65_536,
            size => size.unwrap_or(0),
        }
    }

    /// The pages of the file; none if their size is unknown.
    fn pages(&self) -> Option<u64> {
        self.bytes.checked_div(self.page_bytes())
    }

    fn page(&self, number: u32, page_bytes: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = self.file.as_ref() else { return Ok(None) };
        let at = u64::from(number.saturating_sub(1)) * page_bytes;
        if at + page_bytes > self.bytes {
            return Ok(None);
        }
        let mut page = vec![0; usize::try_from(page_bytes).unwrap_or(0)];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut page)?;
        Ok(Some(page))
    }

    /// Whether a journal would set the database back to another size. The only one that Keyway ever makes is
    /// that of the step into WAL mode, which changes no size but that of an empty file, to a single page.
    fn is_undone_by(&self, journal: &Path) -> io::Result<bool> {
        let Some(file) = existing(journal)? else { return Ok(false) };
        let mut header = Vec::new();
        file.take(28).read_to_end(&mut header)?;
        let (Some(pages), Some(before)) = (self.pages(), number(&header, 16, 4)) else { return Ok(false) };
        let is_hot = header.starts_with(JOURNAL_MAGIC);
        Ok(is_hot && self.mode() == Some(WAL_MODE) && pages > 1 && pages != before)
    }

    /// Whether the database has a mark that neither the WAL has nor the state that it continues.
    fn has_other_marks(&self, wal: &Wal) -> io::Result<bool> {
        let Some(known) = wal.marks() else { return Ok(false) };
        let own = match self.page(META_PAGE, wal.page_bytes())? {
            Some(page) => Marks::of(&page),
            // There are no tables yet.
            None if self.bytes == wal.page_bytes() => Some(Marks::NONE),
            None => None,
        };
        let Some(own) = own.filter(Marks::is_whole) else { return Ok(false) };
        Ok(!known.contains(&own.mark))
    }

    /// Whether the database is in rollback mode and lacks what the WAL holds. `VACUUM INTO` makes such files.
    /// SQLite itself leaves WAL mode only after it has copied all of the WAL.
    fn is_no_longer_in_wal_mode(&self, path: &Path, wal: &Wal) -> io::Result<bool> {
        if self.mode() != Some(ROLLBACK_MODE) {
            return Ok(false);
        }
        let mut last: HashMap<u32, u64> = HashMap::new();
        let mut pages = 0;
        wal::frames(path, |frame| {
            last.insert(frame.page, frame.at);
            pages = frame.pages.unwrap_or(pages);
        })?;
        let mut file = File::open(beside(path, "-wal"))?;
        for (page, at) in last {
            // The first page says which mode it is.
            if page == 1 || page > pages {
                continue;
            }
            let mut image = vec![0; usize::try_from(wal.page_bytes()).unwrap_or(0)];
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut image)?;
            if self.page(page, wal.page_bytes())?.as_deref() != Some(image.as_slice()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
