//! Reading keys in order, a page at a time.

use abi_stable::{
    StableAbi,
    std_types::{ROption, RSlice, RStr, RVec},
};

use crate::{AbiBytes, Record};

/// Which keys to read, in which order, and how many.
///
/// The scan reads the keys of the keyspace that begin with the prefix and lie in `[start, end)`. With a
/// delimiter, keys that hold it after the prefix are folded into one common prefix each, which ends with the
/// delimiter.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct Scan<'a> {
    keyspace: RStr<'a>,
    prefix: RSlice<'a, u8>,
    start: RSlice<'a, u8>,
    end: ROption<RSlice<'a, u8>>,
    delimiter: RSlice<'a, u8>,
    cursor: RSlice<'a, u8>,
    max_items: u32,
    max_bytes: u64,
    reverse: bool,
    keys_only: bool,
}

impl<'a> Scan<'a> {
    /// Default of items a page.
    pub const DEFAULT_PAGE_ITEMS: u32 = 100;
    /// Most items a page.
    pub const MAX_PAGE_ITEMS: u32 = 1_000;
    /// Most bytes a page: keys and values together. The first item is returned however large it is.
    pub const MAX_PAGE_BYTES: u64 = 1024 * 1024;

    /// All keys that begin with `prefix`.
    #[inline]
    pub fn prefix(keyspace: &'a str, prefix: &'a [u8]) -> Self {
        Self {
            keyspace: keyspace.into(),
            prefix: prefix.into(),
            start: RSlice::EMPTY,
            end: ROption::RNone,
            delimiter: RSlice::EMPTY,
            cursor: RSlice::EMPTY,
            max_items: Self::DEFAULT_PAGE_ITEMS,
            max_bytes: Self::MAX_PAGE_BYTES,
            reverse: false,
            keys_only: false,
        }
    }

    /// All keys in `[start, end)`; without an end, all from `start` on.
    #[inline]
    pub fn range(keyspace: &'a str, start: &'a [u8], end: Option<&'a [u8]>) -> Self {
        Self::prefix(keyspace, b"").starting_at(start).ending_before(end)
    }

    /// Not before `start`.
    #[must_use]
    #[inline]
    pub fn starting_at(mut self, start: &'a [u8]) -> Self {
        self.start = start.into();
        self
    }

    /// Only keys before `end`.
    #[must_use]
    #[inline]
    pub fn ending_before(mut self, end: Option<&'a [u8]>) -> Self {
        self.end = end.map(RSlice::from).into();
        self
    }

    /// Folds everything after the first `delimiter` that follows the prefix. An empty delimiter folds
    /// nothing.
    #[must_use]
    #[inline]
    pub fn delimited_by(mut self, delimiter: &'a [u8]) -> Self {
        self.delimiter = delimiter.into();
        self
    }

    /// Go on where an earlier page of the same scan ended.
    #[must_use]
    #[inline]
    pub fn resuming_at(mut self, cursor: &'a [u8]) -> Self {
        self.cursor = cursor.into();
        self
    }

    /// At most this number of items (entries and common prefixes together); bounded by
    /// [`Self::MAX_PAGE_ITEMS`].
    #[must_use]
    #[inline]
    pub fn with_max_items(mut self, max_items: u32) -> Self {
        self.max_items = max_items;
        self
    }

    /// At most this number of bytes; bounded by [`Self::MAX_PAGE_BYTES`].
    #[must_use]
    #[inline]
    pub fn with_max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// From the last key to the first.
    #[must_use]
    #[inline]
    pub fn in_reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Keys and versions without values.
    #[must_use]
    #[inline]
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// The keyspace to read.
    #[inline]
    pub fn keyspace(&self) -> &'a str {
        self.keyspace.as_str()
    }

    /// What every key must begin with.
    #[inline]
    pub fn key_prefix(&self) -> &'a [u8] {
        self.prefix.as_slice()
    }

    /// The inclusive lower bound.
    #[inline]
    pub fn start(&self) -> &'a [u8] {
        self.start.as_slice()
    }

    /// The exclusive upper bound.
    #[inline]
    pub fn end(&self) -> Option<&'a [u8]> {
        self.end.into_option().map(|end| end.as_slice())
    }

    /// The delimiter, or nothing.
    #[inline]
    pub fn delimiter(&self) -> Option<&'a [u8]> {
        (!self.delimiter.is_empty()).then(|| self.delimiter.as_slice())
    }

    /// The cursor to go on from, or nothing.
    #[inline]
    pub fn cursor(&self) -> Option<&'a [u8]> {
        (!self.cursor.is_empty()).then(|| self.cursor.as_slice())
    }

    /// Most items to answer with.
    #[inline]
    pub fn max_items(&self) -> u32 {
        self.max_items.clamp(1, Self::MAX_PAGE_ITEMS)
    }

    /// Most bytes to answer with.
    #[inline]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes.clamp(1, Self::MAX_PAGE_BYTES)
    }

    /// Whether to go from the last key to the first.
    #[inline]
    pub fn is_reverse(&self) -> bool {
        self.reverse
    }

    /// Whether values are left out.
    #[inline]
    pub fn is_keys_only(&self) -> bool {
        self.keys_only
    }
}

/// One key of a page, with its record.
#[repr(C)]
#[derive(StableAbi, Debug, PartialEq, Eq)]
pub struct Entry {
    key: AbiBytes,
    record: Record,
}

impl Entry {
    /// A key and its record.
    #[inline]
    pub fn new(key: impl Into<AbiBytes>, record: Record) -> Self {
        Self { key: key.into(), record }
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The record.
    #[inline]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Both, owned.
    #[inline]
    pub fn into_parts(self) -> (AbiBytes, Record) {
        (self.key, self.record)
    }
}

/// A page of a scan. It may be empty; the scan is done only when there is no cursor.
#[repr(C)]
#[derive(StableAbi, Debug, Default)]
pub struct Page {
    entries: RVec<Entry>,
    prefixes: RVec<AbiBytes>,
    cursor: ROption<AbiBytes>,
}

impl Page {
    /// An empty last page.
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key.
    #[inline]
    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Adds a common prefix.
    #[inline]
    pub fn push_prefix(&mut self, prefix: impl Into<AbiBytes>) {
        self.prefixes.push(prefix.into());
    }

    /// Sets where the next page goes on.
    #[inline]
    pub fn set_cursor(&mut self, cursor: Option<AbiBytes>) {
        self.cursor = cursor.into();
    }

    /// Entries in the order of the scan.
    #[inline]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Common prefixes in the order of the scan.
    #[inline]
    pub fn prefixes(&self) -> &[AbiBytes] {
        &self.prefixes
    }

    /// Where the next page goes on; nothing when this was the last.
    #[inline]
    pub fn cursor(&self) -> Option<&[u8]> {
        self.cursor.as_ref().into_option().map(|cursor| &**cursor)
    }

    /// Entries and common prefixes together.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len() + self.prefixes.len()
    }

    /// Whether the page has neither entries nor common prefixes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries, owned.
    #[inline]
    pub fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.entries.into_iter()
    }
}
