//! Writes to a scratch keyspace and reads it back. This checks whether a store that was just opened answers
//! rightly, and whether it is the store that another generation has open.

use std::time::{SystemTime, UNIX_EPOCH};

use keyway_abi::{
    Batch, BatchMode, CallContext, Condition, DropKeyspace, Error, ErrorCode, Features, Key, Op, Put, Scan,
    Version, WriteId,
};
use thiserror::Error;

use crate::Store;

/// The prefix of the scratch keyspaces. Their contents are of no use after the swap, and may be dropped at
/// any time. Each swap has its own keyspace, since several hosts may swap at the same time.
pub const KEYSPACES: &str = "keyway-scratch-";
/// The age, in seconds, at which a scratch keyspace is abandoned: the swap that made it is over.
const ABANDONED: u64 = 3_600;

const MARK: &[u8] = b"mark";
const FIRST: &[u8] = b"r/first";
const SECOND: &[u8] = b"r/second";

/// Why a store is not to be used.
#[derive(Debug, Error)]
pub enum ReadbackError {
    /// It does not do it.
    #[error("on a scratch keyspace, {step} fails")]
    Fails {
        /// What was tried.
        step: &'static str,
        /// The backend's words.
        source: Error,
    },
    /// A wrong answer.
    #[error("on a scratch keyspace, {step} answers wrongly")]
    Wrong {
        /// What was tried.
        step: &'static str,
    },
    /// It is another store than the one that is open.
    #[error("it is another store: it does not hold what was written to the one that serves")]
    Elsewhere,
}

/// A keyspace that only one swap uses.
#[derive(Debug, Clone)]
pub(crate) struct Scratch {
    keyspace: String,
    mark: [u8; 16],
}

impl Scratch {
    pub(crate) fn new() -> Result<Self, ReadbackError> {
        let mut mark = [0; 16];
        let random =
            getrandom::fill(&mut mark).map_err(|error| Error::new(ErrorCode::INTERNAL, error.to_string()));
        random.map_err(failed("asking for random bytes"))?;
        let name = u64::from_be_bytes(mark.first_chunk().copied().unwrap_or_default());
        Ok(Self { keyspace: format!("{KEYSPACES}{}-{name:016x}", now()), mark })
    }
}

/// Whether a keyspace is one of these.
pub(crate) fn is_scratch(keyspace: &str) -> bool {
    keyspace.starts_with(KEYSPACES)
}

/// Drops the scratch keyspaces of swaps that were killed. One that stays does no harm.
pub(crate) async fn tidy(store: &Store) -> Result<(), ReadbackError> {
    let step = "looking for leftovers";
    let names = store.keyspaces(&CallContext::background(), KEYSPACES).await.map_err(failed(step))?;
    for name in names.iter().take_while(|name| is_scratch(name)) {
        let made = name.strip_prefix(KEYSPACES).and_then(|rest| rest.split('-').next()?.parse().ok());
        if made.is_none_or(|made: u64| now().saturating_sub(made) > ABANDONED) {
            drop_keyspace(store, name).await?;
        }
    }
    Ok(())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Scratch {
    /// Leaves a mark, for the generation that opens the same store next.
    pub(crate) async fn leave_mark(&self, store: &Store) -> Result<(), ReadbackError> {
        let step = "leaving a mark";
        self.write(store, Put::new(self.key(MARK), &self.mark), step).await?.map(drop).map_err(failed(step))
    }

    /// Whether the mark is there that was left through another generation.
    pub(crate) async fn find_mark(&self, store: &Store) -> Result<(), ReadbackError> {
        let found = self.read(store, MARK, "looking for a mark").await?;
        if found.is_some_and(|(value, _)| value == self.mark) {
            Ok(())
        } else {
            Err(ReadbackError::Elsewhere)
        }
    }

    /// Makes, reads, replaces, refuses, lists and removes records, and leaves none.
    pub(crate) async fn check(&self, store: &Store) -> Result<(), ReadbackError> {
        let first = self.make(store).await?;
        let second = self.replace(store, first).await?;
        if store.capabilities().features.contains(Features::ATOMIC_BATCH) {
            self.exchange(store, second).await?;
        }
        self.remove(store).await?;
        let step = "reading a record whose keyspace was dropped";
        let is_gone = self.read(store, FIRST, step).await?.is_none();
        expect(is_gone && self.read(store, SECOND, step).await?.is_none(), step)
    }

    /// Drops the keyspace with all its records.
    pub(crate) async fn remove(&self, store: &Store) -> Result<(), ReadbackError> {
        drop_keyspace(store, &self.keyspace).await
    }

    async fn make(&self, store: &Store) -> Result<Version, ReadbackError> {
        let step = "reading what is not there";
        expect(self.read(store, FIRST, step).await?.is_none(), step)?;
        let step = "making a record";
        let put = |value| Put::new(self.key(FIRST), value).when(Condition::Absent);
        let version = self.write(store, put(b"one"), step).await?.map_err(failed(step))?;
        let step = "making a record that is there";
        let refused = self.write(store, put(b"two"), step).await?;
        expect(refused.is_err_and(|error| error.code() == ErrorCode::ALREADY_EXISTS), step)?;
        let step = "reading a record";
        expect(self.read(store, FIRST, step).await? == Some((b"one".to_vec(), version)), step)?;
        Ok(version)
    }

    async fn replace(&self, store: &Store, first: Version) -> Result<Version, ReadbackError> {
        let put = |value| Put::new(self.key(FIRST), value).when(Condition::Version(first));
        let step = "replacing a record by its version";
        let second = self.write(store, put(b"two"), step).await?.map_err(failed(step))?;
        expect(second != first, step)?;
        let step = "replacing a record by a version that it no longer has";
        let refused = self.write(store, put(b"three"), step).await?;
        expect(refused.is_err_and(|error| error.code() == ErrorCode::PRECONDITION_FAILED), step)?;
        let step = "reading a record that was replaced";
        expect(self.read(store, FIRST, step).await? == Some((b"two".to_vec(), second)), step)?;
        let step = "listing the keys";
        let scan = Scan::prefix(&self.keyspace, b"r/").keys_only().with_max_items(10);
        let page = store.scan(&CallContext::background(), scan).await.map_err(failed(step))?;
        let keys: Vec<&[u8]> = page.entries().iter().map(|entry| entry.key()).collect();
        expect(keys == [FIRST], step)?;
        Ok(second)
    }

    /// One record goes as another comes, or neither.
    async fn exchange(&self, store: &Store, version: Version) -> Result<(), ReadbackError> {
        let step = "a batch";
        let first = Op::delete(self.key(FIRST)).when(Condition::Version(version));
        let ops = [first, Op::put(self.key(SECOND), b"four")];
        let batch = Batch::new(&ops, BatchMode::Atomic, write_id(step)?);
        store.apply(&CallContext::background(), batch).await.map_err(failed(step))?;
        let is_gone = self.read(store, FIRST, step).await?.is_none();
        let has_come = self.read(store, SECOND, step).await?.is_some_and(|(value, _)| value == b"four");
        expect(is_gone && has_come, step)
    }

    async fn read(
        &self,
        store: &Store,
        key: &[u8],
        step: &'static str,
    ) -> Result<Option<(Vec<u8>, Version)>, ReadbackError> {
        let found = store.get(&CallContext::background(), self.key(key)).await.map_err(failed(step))?;
        Ok(found.map(|record| (record.value().to_vec(), record.version())))
    }

    async fn write(
        &self,
        store: &Store,
        put: Put<'_>,
        step: &'static str,
    ) -> Result<Result<Version, Error>, ReadbackError> {
        Ok(store.put(&CallContext::background(), put.with_write_id(write_id(step)?)).await)
    }

    fn key<'a>(&'a self, key: &'a [u8]) -> Key<'a> {
        Key::new(&self.keyspace, key)
    }
}

async fn drop_keyspace(store: &Store, keyspace: &str) -> Result<(), ReadbackError> {
    let step = "dropping the keyspace";
    let drop = DropKeyspace::new(keyspace, write_id(step)?);
    store.drop_keyspace(&CallContext::background(), drop).await.map(|_| ()).map_err(failed(step))
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
