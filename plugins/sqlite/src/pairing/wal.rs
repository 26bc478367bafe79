//! What a WAL's file holds: the frames that SQLite would find after a crash.
//!
//! Format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::{
    collections::HashSet,
    io::{self, BufReader, Read},
    path::Path,
};

use super::{
    bytes::{existing, number},
    meta::Marks,
};
use crate::files::beside;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const MAGIC: u64 = 0x377f_0682;
const FORMAT: u64 = 3_007_000;
const PAGE_BYTES: std::ops::RangeInclusive<u64> = 512..=65_536;

/// A frame, its checksum right.
pub(super) struct Frame<'a> {
    pub(super) page: u32,
    /// After a commit, the pages of the database.
    pub(super) pages: Option<u32>,
    /// Where its page begins in the file.
    pub(super) at: u64,
    image: &'a [u8],
}

/// A WAL that holds at least one commit.
pub(super) struct Wal {
    page_bytes: u64,
    /// None if a page of them cannot be read.
    marks: Option<HashSet<u64>>,
}

impl Wal {
    /// None if there is no commit in it, or no WAL.
    pub(super) fn read(database: &Path, meta_page: u32) -> io::Result<Option<Self>> {
        let (mut marks, mut pending) = (Some(HashSet::new()), Vec::new());
        let mut has_commit = false;
        let page_bytes = frames(database, |frame| {
            if frame.page == meta_page {
                pending.push(Marks::of(frame.image));
            }
            if frame.pages.is_some() {
                has_commit = true;
                for found in pending.drain(..) {
                    match (found, &mut marks) {
                        (Some(found), Some(marks)) => marks.extend([found.mark, found.before]),
                        _ => marks = None,
                    }
                }
            }
        })?;
        // If it has none, there is nothing to compare with.
        let marks = marks.filter(|marks| !marks.is_empty());
        Ok(has_commit.then_some(Self { page_bytes, marks }))
    }

    pub(super) fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// All marks of the states in it, and of the one that it continues.
    pub(super) fn marks(&self) -> Option<&HashSet<u64>> {
        self.marks.as_ref()
    }
}

/// The first bytes of a database's WAL, which change whenever the WAL begins again. None if there is no WAL.
pub(super) fn header(database: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = existing(&beside(database, "-wal"))? else { return Ok(None) };
    let mut header = Vec::new();
    file.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    Ok(Some(header))
}

/// Calls for each frame up to the first that is not whole, or of an earlier use of the file; answers the
/// bytes of a page. Those after the last commit count for nothing.
pub(super) fn frames(database: &Path, mut each: impl FnMut(Frame<'_>)) -> io::Result<u64> {
    let Some(file) = existing(&beside(database, "-wal"))? else { return Ok(0) };
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER_BYTES];
    if !is_read(&mut file, &mut header)? {
        return Ok(0);
    }
    let field = |at| number(&header, at, 4).unwrap_or(0);
    let page_bytes = field(8);
    let is_known = field(0) & !1 == MAGIC && field(4) == FORMAT;
    if !is_known || !PAGE_BYTES.contains(&page_bytes) || !page_bytes.is_power_of_two() {
        return Ok(0);
    }
    let mut sum = Sum { is_big_endian: field(0) & 1 == 1, words: (0, 0) };
    let (summed, rest) = header.split_at(24);
    sum.add(summed);
    if !sum.is(rest) {
        return Ok(0);
    }
    let (mut head, mut image) = ([0; FRAME_HEADER_BYTES], vec![0; usize::try_from(page_bytes).unwrap_or(0)]);
    let mut at = HEADER_BYTES as u64;
    while is_read(&mut file, &mut head)? && is_read(&mut file, &mut image)? {
        let (named, salted) = head.split_at(8);
        let (salts, written) = salted.split_at(8);
        sum.add(named);
        sum.add(&image);
        let page = number(named, 0, 4).and_then(|page| u32::try_from(page).ok()).unwrap_or(0);
        let pages = number(named, 4, 4).and_then(|pages| u32::try_from(pages).ok()).unwrap_or(0);
        if page == 0 || Some(salts) != header.get(16..24) || !sum.is(written) {
            break;
        }
        let pages = (pages > 0).then_some(pages);
        each(Frame { page, pages, at: at + FRAME_HEADER_BYTES as u64, image: &image });
        at += FRAME_HEADER_BYTES as u64 + page_bytes;
    }
    Ok(page_bytes)
}

/// Fills the buffer; false if the file ends before.
fn is_read(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The checksum of all that came so far.
struct Sum {
    is_big_endian: bool,
    words: (u32, u32),
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let word = |bytes: [u8; 4]| {
            if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let (mut one, mut other) = self.words;
        let (pairs, _) = bytes.as_chunks::<8>();
        for [a, b, c, d, e, f, g, h] in pairs {
            one = one.wrapping_add(word([*a, *b, *c, *d])).wrapping_add(other);
            other = other.wrapping_add(word([*e, *f, *g, *h])).wrapping_add(one);
        }
        self.words = (one, other);
    }

    fn is(&self, written: &[u8]) -> bool {
        let both = (number(written, 0, 4), number(written, 4, 4));
        both == (Some(u64::from(self.words.0)), Some(u64::from(self.words.1)))
    }
}
