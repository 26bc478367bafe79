//! Several writes in one call.

use abi_stable::{
    StableAbi,
    std_types::{RResult, RSlice, RVec},
};

use crate::{Condition, Delete, Error, Key, Put, Version, WriteId};

/// What an [`Op`] does. A closed set in major version 1.
#[repr(u8)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// Write the value.
    Put,
    /// Remove the record.
    Delete,
    /// Change nothing, but fail unless the condition holds.
    Check,
}

/// One operation of a [`Batch`].
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct Op<'a> {
    kind: OpKind,
    key: Key<'a>,
    value: RSlice<'a, u8>,
    condition: Condition,
    expires_at_ms: u64,
}

impl<'a> Op<'a> {
    /// Writes `value`.
    #[inline]
    pub fn put(key: Key<'a>, value: &'a [u8]) -> Self {
        Self { kind: OpKind::Put, key, value: value.into(), condition: Condition::Any, expires_at_ms: 0 }
    }

    /// Removes the record.
    #[inline]
    pub fn delete(key: Key<'a>) -> Self {
        Self { kind: OpKind::Delete, key, value: RSlice::EMPTY, condition: Condition::Any, expires_at_ms: 0 }
    }

    /// Fails unless `condition` holds.
    #[inline]
    pub fn check(key: Key<'a>, condition: Condition) -> Self {
        Self { kind: OpKind::Check, key, value: RSlice::EMPTY, condition, expires_at_ms: 0 }
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

    /// What to do.
    #[inline]
    pub fn kind(&self) -> OpKind {
        self.kind
    }

    /// On which key.
    #[inline]
    pub fn key(&self) -> Key<'a> {
        self.key
    }

    /// What to write; empty for other kinds.
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

    /// The same as a single put, for an operation of that kind.
    #[inline]
    pub fn as_put(&self, write_id: WriteId) -> Put<'a> {
        Put::new(self.key, self.value())
            .when(self.condition)
            .expiring_at_ms(self.expires_at_ms)
            .with_write_id(write_id)
    }

    /// The same as a single delete, for an operation of that kind.
    #[inline]
    pub fn as_delete(&self, write_id: WriteId) -> Delete<'a> {
        Delete::new(self.key).when(self.condition).with_write_id(write_id)
    }
}

impl<'a> From<Put<'a>> for Op<'a> {
    #[inline]
    fn from(put: Put<'a>) -> Self {
        let expires_at_ms = put.expires_at_ms().unwrap_or(0);
        Self::put(put.key(), put.value()).when(put.condition()).expiring_at_ms(expires_at_ms)
    }
}

impl<'a> From<Delete<'a>> for Op<'a> {
    #[inline]
    fn from(delete: Delete<'a>) -> Self {
        Self::delete(delete.key()).when(delete.condition())
    }
}

/// Whether the operations of a batch stand or fall together. A closed set in major version 1.
#[repr(u8)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchMode {
    /// All or nothing; never quietly degraded.
    Atomic,
    /// Each for itself, answered per item.
    Independent,
}

/// Operations on distinct keys. Conditions see the state before the batch.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct Batch<'a> {
    ops: RSlice<'a, Op<'a>>,
    mode: BatchMode,
    write_id: WriteId,
}

impl<'a> Batch<'a> {
    /// The operations, with the id of this write.
    #[inline]
    pub fn new(ops: &'a [Op<'a>], mode: BatchMode, write_id: WriteId) -> Self {
        Self { ops: ops.into(), mode, write_id }
    }

    /// The operations.
    #[inline]
    pub fn ops(&self) -> &'a [Op<'a>] {
        self.ops.as_slice()
    }

    /// Whether they stand or fall together.
    #[inline]
    pub fn mode(&self) -> BatchMode {
        self.mode
    }

    /// The id of this write.
    #[inline]
    pub fn write_id(&self) -> WriteId {
        self.write_id
    }
}

/// What one operation did.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpResult {
    version: Version,
    existed: bool,
}

impl OpResult {
    /// A put that wrote `version`.
    #[inline]
    pub fn written(version: Version, existed: bool) -> Self {
        Self { version, existed }
    }

    /// A delete or a check.
    #[inline]
    pub fn unversioned(existed: bool) -> Self {
        Self { version: Version::numbered(0, 0), existed }
    }

    /// The new version of a put. Of no meaning for other kinds.
    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the key existed before. Always false for the puts of a backend that does batches one by one.
    #[inline]
    pub fn existed(&self) -> bool {
        self.existed
    }
}

/// One result an operation, in order. Of an atomic batch, all are successes. Collect one from an iterator of results.
#[repr(transparent)]
#[derive(StableAbi, Debug, Default)]
pub struct BatchResult(RVec<RResult<OpResult, Error>>);

impl BatchResult {
    /// How many operations were answered.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the batch was empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The results in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Result<&OpResult, &Error>> {
        self.0.iter().map(|result| result.as_ref().into_result())
    }
}

impl FromIterator<Result<OpResult, Error>> for BatchResult {
    fn from_iter<I: IntoIterator<Item = Result<OpResult, Error>>>(results: I) -> Self {
        Self(results.into_iter().map(RResult::from).collect())
    }
}
