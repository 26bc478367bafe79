//! Records, and how one is written.

use abi_stable::{
    StableAbi,
    std_types::{ROption, RSlice, RVec},
};

use crate::{AbiBytes, Key, Version, WriteId};

/// A record as it was read: value, version, expiry.
#[repr(C)]
#[derive(StableAbi, Debug, PartialEq, Eq)]
pub struct Record {
    value: AbiBytes,
    version: Version,
    expires_at_ms: u64,
}

impl Record {
    /// A record without an expiry. The bytes are shared, not copied.
    #[inline]
    pub fn new(value: impl Into<AbiBytes>, version: Version) -> Self {
        Self { value: value.into(), version, expires_at_ms: 0 }
    }

    /// With an expiry: absolute UTC, in milliseconds since 1970.
    #[must_use]
    #[inline]
    pub fn with_expiry(mut self, expires_at_ms: Option<u64>) -> Self {
        self.expires_at_ms = expires_at_ms.unwrap_or(0);
        self
    }

    /// Without its value, as a scan for keys only answers.
    #[must_use]
    #[inline]
    pub fn without_value(mut self) -> Self {
        self.value = AbiBytes::new();
        self
    }

    /// The value. Empty if a scan asked for keys only.
    #[inline]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The value, without a copy.
    #[inline]
    pub fn into_value(self) -> AbiBytes {
        self.value
    }

    /// The version that this value was written with.
    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// When the record expires: absolute UTC, in milliseconds since 1970.
    #[inline]
    pub fn expires_at_ms(&self) -> Option<u64> {
        (self.expires_at_ms != 0).then_some(self.expires_at_ms)
    }
}

/// The answer to `get_many`: one place for each key, in the order in which they were asked for.
#[repr(transparent)]
#[derive(StableAbi, Debug, Default)]
pub struct Records(RVec<ROption<Record>>);

impl Records {
    /// Room for `capacity` records.
    #[inline]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(RVec::with_capacity(capacity))
    }

    /// Adds the answer for the next key.
    #[inline]
    pub fn push(&mut self, record: Option<Record>) {
        self.0.push(record.into());
    }

    /// How many keys were answered.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no key was asked for.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The record of the key at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&Record> {
        self.0.get(index).and_then(|record| record.as_ref().into_option())
    }

    /// The records in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Option<&Record>> {
        self.0.iter().map(|record| record.as_ref().into_option())
    }
}

impl IntoIterator for Records {
    type Item = Option<Record>;
    type IntoIter = std::iter::Map<
        abi_stable::std_types::vec::IntoIter<ROption<Record>>,
        fn(ROption<Record>) -> Option<Record>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(ROption::into_option)
    }
}

impl FromIterator<Option<Record>> for Records {
    fn from_iter<I: IntoIterator<Item = Option<Record>>>(records: I) -> Self {
        Self(records.into_iter().map(ROption::from).collect())
    }
}

/// What must be true of a key for a write to happen.
///
/// A closed set in major version 1: another kind of condition would come with a flag that must be understood.
#[repr(u8)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Write in any case.
    Any,
    /// Only if the key does not exist (an expired record does not).
    Absent,
    /// Only if the key exists with this version.
    Version(Version),
}

/// One write.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct Put<'a> {
    key: Key<'a>,
    value: RSlice<'a, u8>,
    condition: Condition,
    expires_at_ms: u64,
    write_id: WriteId,
}

impl<'a> Put<'a> {
    /// An unconditional write without expiry.
    #[inline]
    pub fn new(key: Key<'a>, value: &'a [u8]) -> Self {
        Self {
            key,
            value: value.into(),
            condition: Condition::Any,
            expires_at_ms: 0,
            write_id: WriteId::default(),
        }
    }

    /// With a condition.
    #[must_use]
    #[inline]
    pub fn when(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }

    /// With an expiry: absolute UTC, in milliseconds since 1970; zero means none.
    #[must_use]
    #[inline]
    pub fn expiring_at_ms(mut self, expires_at_ms: u64) -> Self {
        self.expires_at_ms = expires_at_ms;
        self
    }

    /// With the id of this write.
    #[must_use]
    #[inline]
    pub fn with_write_id(mut self, write_id: WriteId) -> Self {
        self.write_id = write_id;
        self
    }

    /// Where to write.
    #[inline]
    pub fn key(&self) -> Key<'a> {
        self.key
    }

    /// What to write.
    #[inline]
    pub fn value(&self) -> &'a [u8] {
        self.value.as_slice()
    }

    /// On what condition.
    #[inline]
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// When the record expires: absolute UTC, in milliseconds since 1970.
    #[inline]
    pub fn expires_at_ms(&self) -> Option<u64> {
        (self.expires_at_ms != 0).then_some(self.expires_at_ms)
    }

    /// The id of this write.
    #[inline]
    pub fn write_id(&self) -> WriteId {
        self.write_id
    }
}

/// One deletion.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct Delete<'a> {
    key: Key<'a>,
    condition: Condition,
    write_id: WriteId,
}

impl<'a> Delete<'a> {
    /// An unconditional deletion.
    #[inline]
    pub fn new(key: Key<'a>) -> Self {
        Self { key, condition: Condition::Any, write_id: WriteId::default() }
    }

    /// With a condition.
    #[must_use]
    #[inline]
    pub fn when(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }

    /// With the id of this write.
    #[must_use]
    #[inline]
    pub fn with_write_id(mut self, write_id: WriteId) -> Self {
        self.write_id = write_id;
        self
    }

    /// What to delete.
    #[inline]
    pub fn key(&self) -> Key<'a> {
        self.key
    }

    /// On what condition.
    #[inline]
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// The id of this write.
    #[inline]
    pub fn write_id(&self) -> WriteId {
        self.write_id
    }
}
