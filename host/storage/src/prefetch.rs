//! Records that are read before it is known whether all of them are wanted: one call instead of several.

use keyway_loader::{Key, Record};

/// A key in its keyspace, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordKey {
    keyspace: String,
    key: Vec<u8>,
}

/// What was read together.
#[derive(Debug, Default)]
pub struct Prefetched {
    records: Vec<(RecordKey, Option<Record>)>,
    clock: u64,
}

/// A record that was prefetched, or read just now.
pub enum Found<'a> {
    /// Read by an earlier prefetch.
    Prefetched(Option<&'a Record>),
    /// Read now.
    Read(Option<Record>),
}

impl Found<'_> {
    /// The record; none if there is none.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Prefetched(record) => *record,
            Self::Read(record) => record.as_ref(),
        }
    }
}

impl RecordKey {
    /// A copy of a key.
    pub fn of(key: Key<'_>) -> Self {
        Self { keyspace: key.keyspace().to_owned(), key: key.bytes().to_vec() }
    }

    /// The key, borrowed.
    pub fn key(&self) -> Key<'_> {
        Key::new(&self.keyspace, &self.key)
    }
}

impl Prefetched {
    /// With what a clock of the reader's showed before.
    #[must_use]
    pub fn at(self, clock: u64) -> Self {
        Self { clock, ..self }
    }

    /// What the reader's clock showed before.
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// The record of this place is to be read again.
    pub fn forget(&mut self, place: &RecordKey) {
        self.records.retain(|(known, _)| known != place);
    }

    pub(super) fn new(places: Vec<RecordKey>, records: Vec<Option<Record>>) -> Self {
        Self { records: places.into_iter().zip(records).collect(), clock: 0 }
    }

    /// The record of a key at the time of the prefetch; none if the prefetch did not include the key.
    pub fn get(&self, key: Key<'_>) -> Option<Option<&Record>> {
        let found = self.records.iter().find(|(place, _)| place.key() == key);
        found.map(|(_, record)| record.as_ref())
    }
}
