//! Writes to a keyspace of its own and reads it back: whether a store that has just been opened answers rightly, and whether
//! it is the store that another generation has open.

use std::time::{SystemTime, UNIX_EPOCH};

use keyway_abi::{
    Batch, BatchMode, CallContext, Condition, DropKeyspace, Error, ErrorCode, Features, Key, Op, Put, Scan,
    Version, WriteId,
};
use thiserror::Error;

use crate::Store;

/// The keyspace. What is in it is nobody's, and may be dropped at any time.
pub const KEYSPACE: &str = "keyway-scratch";

const MARK: &[u8] = b"mark";
const FIRST: &[u8] = b"r/first";
const SECOND: &[u8] = b"r/second";

/// Why a store is not to be used.
#[derive(Debug, Error)]
pub enum ReadbackError {
    /// It does not do it.
    #[error("on the keyspace {KEYSPACE:?}, {step} fails")]
    Fails {
        /// What was tried.
        step: &'static str,
        /// The backend's words.
        source: Error,
    },
    /// It answers what is not so.
    #[error("on the keyspace {KEYSPACE:?}, {step} answers wrongly")]
    Wrong {
        /// What was tried.
        step: &'static str,
    },
    /// It is another store than the one that is open.
    #[error("it is another store: it does not hold what was written to the one that serves")]
    Elsewhere,
}

/// Something that nobody else has written.
pub(crate) fn mark() -> Result<Vec<u8>, ReadbackError> {
    let mut mark = [0; 24];
    let (random, time) = mark.split_at_mut(16);
    getrandom::fill(random).map_err(|error| ReadbackError::Fails {
        step: "asking for random bytes",
        source: Error::new(ErrorCode::INTERNAL, error.to_string()),
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    time.copy_from_slice(&now.to_be_bytes());
    Ok(mark.to_vec())
}

/// Leaves a mark for whoever opens the same store next.
pub(crate) async fn leave(store: &dyn Store, mark: &[u8]) -> Result<(), ReadbackError> {
    let step = "leaving a mark";
    let put = Put::new(Key::new(KEYSPACE, MARK), mark).with_write_id(write_id(step)?);
    store.put(&CallContext::background(), put).await.map(drop).map_err(failed(step))
}

/// Whether the mark is there that was left through another generation.
pub(crate) async fn find(store: &dyn Store, mark: &[u8]) -> Result<(), ReadbackError> {
    let step = "looking for a mark";
    let found =
        store.get(&CallContext::background(), Key::new(KEYSPACE, MARK)).await.map_err(failed(step))?;
    if found.is_some_and(|record| record.value() == mark) { Ok(()) } else { Err(ReadbackError::Elsewhere) }
}

/// Makes, reads, replaces, refuses, lists and removes records, and leaves nothing behind.
pub(crate) async fn check(store: &dyn Store) -> Result<(), ReadbackError> {
    remove(store).await?;
    let first = make(store).await?;
    let second = replace(store, first).await?;
    if store.capabilities().features.contains(Features::ATOMIC_BATCH) {
        exchange(store, second).await?;
    }
    remove(store).await?;
    let step = "reading a record whose keyspace was dropped";
    expect(read(store, FIRST, step).await?.is_none() && read(store, SECOND, step).await?.is_none(), step)
}

async fn make(store: &dyn Store) -> Result<Version, ReadbackError> {
    let step = "reading what is not there";
    expect(read(store, FIRST, step).await?.is_none(), step)?;
    let step = "making a record";
    let put = |value| Put::new(Key::new(KEYSPACE, FIRST), value).when(Condition::Absent);
    let version = write(store, put(b"one"), step).await?.map_err(failed(step))?;
    let step = "making a record that is there";
    let refused = write(store, put(b"two"), step).await?;
    expect(refused.is_err_and(|error| error.code() == ErrorCode::ALREADY_EXISTS), step)?;
    let step = "reading a record";
    expect(read(store, FIRST, step).await? == Some((b"one".to_vec(), version)), step)?;
    Ok(version)
}

async fn replace(store: &dyn Store, first: Version) -> Result<Version, ReadbackError> {
    let put = |value| Put::new(Key::new(KEYSPACE, FIRST), value).when(Condition::Version(first));
    let step = "replacing a record by its version";
    let second = write(store, put(b"two"), step).await?.map_err(failed(step))?;
    expect(second != first, step)?;
    let step = "replacing a record by a version that it no longer has";
    let refused = write(store, put(b"three"), step).await?;
    expect(refused.is_err_and(|error| error.code() == ErrorCode::PRECONDITION_FAILED), step)?;
    let step = "reading a record that was replaced";
    expect(read(store, FIRST, step).await? == Some((b"two".to_vec(), second)), step)?;
    let step = "listing the keys";
    let scan = Scan::prefix(KEYSPACE, b"r/").keys_only().with_max_items(10);
    let page = store.scan(&CallContext::background(), scan).await.map_err(failed(step))?;
    let keys: Vec<&[u8]> = page.entries().iter().map(|entry| entry.key()).collect();
    expect(keys == [FIRST], step)?;
    Ok(second)
}

/// One record goes as another comes, or neither.
async fn exchange(store: &dyn Store, version: Version) -> Result<(), ReadbackError> {
    let step = "a batch";
    let (first, second) = (Key::new(KEYSPACE, FIRST), Key::new(KEYSPACE, SECOND));
    let ops = [Op::delete(first).when(Condition::Version(version)), Op::put(second, b"four")];
    let batch = Batch::new(&ops, BatchMode::Atomic, write_id(step)?);
    store.apply(&CallContext::background(), batch).await.map_err(failed(step))?;
    let is_gone = read(store, FIRST, step).await?.is_none();
    expect(is_gone && read(store, SECOND, step).await?.is_some_and(|(value, _)| value == b"four"), step)
}

/// Drops the keyspace with whatever is in it.
pub(crate) async fn remove(store: &dyn Store) -> Result<(), ReadbackError> {
    let step = "dropping the keyspace";
    let drop = DropKeyspace::new(KEYSPACE, write_id(step)?);
    store.drop_keyspace(&CallContext::background(), drop).await.map(|_| ()).map_err(failed(step))
}

async fn read(
    store: &dyn Store,
    key: &[u8],
    step: &'static str,
) -> Result<Option<(Vec<u8>, Version)>, ReadbackError> {
    let found = store.get(&CallContext::background(), Key::new(KEYSPACE, key)).await.map_err(failed(step))?;
    Ok(found.map(|record| (record.value().to_vec(), record.version())))
}

async fn write(
    store: &dyn Store,
    put: Put<'_>,
    step: &'static str,
) -> Result<Result<Version, Error>, ReadbackError> {
    Ok(store.put(&CallContext::background(), put.with_write_id(write_id(step)?)).await)
}

fn write_id(step: &'static str) -> Result<WriteId, ReadbackError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)
        .map_err(|error| Error::new(ErrorCode::INTERNAL, error.to_string()))
        .map_err(failed(step))?;
    Ok(WriteId::new(id))
}

fn failed(step: &'static str) -> impl Fn(Error) -> ReadbackError {
    move |source| ReadbackError::Fails { step, source }
}

fn expect(holds: bool, step: &'static str) -> Result<(), ReadbackError> {
    if holds { Ok(()) } else { Err(ReadbackError::Wrong { step }) }
}
