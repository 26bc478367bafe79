//! What the interface and the declared capabilities demand of a request, checked before an author's code sees it.

use std::collections::HashSet;

use keyway_abi::{
    Batch, BatchMode, Begin, CallContext, Capabilities, Delete, Error, ErrorCode, Features, Isolation, Key,
    Op, OpKind, Put, Request, Scan, key::MAX_KEYSPACE_BYTES,
};

use crate::Result;

/// From how many operations on a set is quicker than comparing each with each.
const SMALL_BATCH: usize = 16;

/// The request's body, unless a flag that must be understood is not.
#[inline]
pub(super) fn understood<T: Copy>(call: &CallContext<'_>, request: &Request<'_, T>) -> Result<T> {
    let unknown = call.unknown_flags() | request.unknown_flags();
    if unknown == 0 {
        Ok(request.body())
    } else {
        Err(Error::new(ErrorCode::UNSUPPORTED, format!("the flags {unknown:#x} are not understood")))
    }
}

#[inline]
pub(super) fn keyspace(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_KEYSPACE_BYTES {
        let message =
            format!("a keyspace's name has 1 to {MAX_KEYSPACE_BYTES} bytes, this one {}", name.len());
        return Err(Error::new(ErrorCode::INVALID_ARGUMENT, message));
    }
    Ok(())
}

#[inline]
pub(super) fn key(capabilities: &Capabilities, key: Key<'_>) -> Result<()> {
    keyspace(key.keyspace())?;
    within("a key's bytes", key.bytes().len(), capabilities.limits.key_bytes)
}

pub(super) fn keys(capabilities: &Capabilities, keys: &[Key<'_>]) -> Result<()> {
    within("keys of a get_many", keys.len(), capabilities.limits.batch_ops)?;
    keys.iter().try_for_each(|each| key(capabilities, *each))
}

pub(super) fn put(capabilities: &Capabilities, put: &Put<'_>) -> Result<()> {
    key(capabilities, put.key())?;
    within("a value's bytes", put.value().len(), capabilities.limits.value_bytes)?;
    expiry(capabilities, put.expires_at_ms())
}

pub(super) fn delete(capabilities: &Capabilities, delete: &Delete<'_>) -> Result<()> {
    key(capabilities, delete.key())
}

pub(super) fn scan(capabilities: &Capabilities, scan: &Scan<'_>) -> Result<()> {
    keyspace(scan.keyspace())?;
    if scan.is_reverse() && !capabilities.features.contains(Features::REVERSE_SCAN) {
        return Err(Error::unsupported("a scan in reverse"));
    }
    Ok(())
}

pub(super) fn batch(capabilities: &Capabilities, batch: &Batch<'_>) -> Result<()> {
    if batch.mode() == BatchMode::Atomic && !capabilities.features.contains(Features::ATOMIC_BATCH) {
        return Err(Error::unsupported("an atomic batch"));
    }
    within("operations of a batch", batch.ops().len(), capabilities.limits.batch_ops)?;
    let mut bytes = 0_usize;
    for (index, op) in batch.ops().iter().enumerate() {
        one_op(capabilities, op).map_err(|error| error.with_index(index))?;
        bytes = bytes.saturating_add(op.key().bytes().len()).saturating_add(op.value().len());
    }
    within("bytes of a batch", bytes, capabilities.limits.batch_bytes)?;
    match repeated(batch.ops()) {
        None => Ok(()),
        Some(index) => {
            let error = Error::new(ErrorCode::INVALID_ARGUMENT, "a batch names a key once, this one twice");
            Err(error.with_index(index))
        }
    }
}

pub(super) fn begin(capabilities: &Capabilities, begin: &Begin) -> Result<()> {
    if capabilities.isolation == Isolation::NONE {
        return Err(Error::unsupported("a transaction"));
    }
    if begin.isolation > capabilities.isolation {
        return Err(Error::unsupported(&format!("isolation {}", begin.isolation.name())));
    }
    Ok(())
}

fn one_op(capabilities: &Capabilities, op: &Op<'_>) -> Result<()> {
    key(capabilities, op.key())?;
    if op.kind() == OpKind::Put {
        within("a value's bytes", op.value().len(), capabilities.limits.value_bytes)?;
        expiry(capabilities, op.expires_at_ms())?;
    }
    Ok(())
}

fn expiry(capabilities: &Capabilities, expires_at_ms: Option<u64>) -> Result<()> {
    if expires_at_ms.is_some() && !capabilities.features.contains(Features::EXPIRY) {
        return Err(Error::unsupported("a record with an expiry"));
    }
    Ok(())
}

#[inline]
fn within(what: &str, actual: usize, limit: u64) -> Result<()> {
    if actual as u64 > limit {
        return Err(Error::new(ErrorCode::TOO_LARGE, format!("{what}: {actual}, and the limit is {limit}")));
    }
    Ok(())
}

/// The index of the first operation whose key an earlier one names.
fn repeated(ops: &[Op<'_>]) -> Option<usize> {
    if ops.len() <= SMALL_BATCH {
        return (1..ops.len()).find(|index| {
            let (before, rest) = ops.split_at(*index);
            rest.first().is_some_and(|op| before.iter().any(|earlier| earlier.key() == op.key()))
        });
    }
    let mut seen = HashSet::with_capacity(ops.len());
    ops.iter().position(|op| !seen.insert((op.key().keyspace(), op.key().bytes())))
}

/// Returns the error of a check as the answer.
macro_rules! checked {
    ($reply:ident, $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return *$reply = ForeignReply::Failed(error),
        }
    };
}
pub(super) use checked;
