//! The epoch record, for cache invalidation across hosts: a mark in the system's store. It changes in one
//! batch with what hosts cache: policies, mounts, the keyring and the audit devices. A host that reads a mark
//! other than the one it knows reads all of these again. If the mark is the same, nothing has changed. This
//! needs neither a leader nor messages.
//!
//! The mark is random and not sealed: an attacker who can replay it can replay the cached records too.

use keyway_loader::{Condition, Delete, Key, Op, Put, Record, Sharing, Version};
use uuid::Uuid;

use crate::{Companion, SYSTEM_KEYSPACE, Storage, StorageError, Work};

const KEY: &[u8] = b"epoch";
/// The most operations of one batch: a record, the mark, and the check of a fence.
const MOST_TOGETHER: u64 = 3;

/// A mark as it was read; none if nothing was changed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch(Option<Vec<u8>>);

/// How a host learns of what others change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerSync {
    /// There are none.
    None,
    /// By the epoch.
    Epoch,
    /// Not at all: the store cannot change two records at once.
    RereadAll,
}

impl Epoch {
    /// What was read at [`place`].
    pub fn of(record: Option<&Record>) -> Self {
        Self(record.map(|record| record.value().to_vec()))
    }
}

/// Where the epoch lies.
pub fn place() -> Key<'static> {
    Key::new(SYSTEM_KEYSPACE, KEY)
}

/// How the hosts of this store learn of each other's changes.
///
/// # Errors
///
/// The store's: one that is not open says nothing of itself.
pub fn peer_sync(system: &Storage, work: &Work) -> Result<PeerSync, StorageError> {
    Ok(match system.sharing()? {
        Sharing::MANY_HOSTS if system.takes_together(work, MOST_TOGETHER) => PeerSync::Epoch,
        Sharing::MANY_HOSTS => PeerSync::RereadAll,
        _ => PeerSync::None,
    })
}

/// As [`Storage::put_settled`], and every host knows of it.
///
/// # Errors
///
/// The store's.
pub async fn put(system: &Storage, work: &Work, put: Put<'_>) -> Result<Version, StorageError> {
    system.put_settled_with(work, put, Companion::EpochMark(place())).await
}

/// As [`Storage::delete`], and every host knows of it.
///
/// # Errors
///
/// The store's.
pub async fn delete(
    system: &Storage,
    work: &Work,
    key: Key<'_>,
    condition: Condition,
) -> Result<(), StorageError> {
    let mark = Uuid::new_v4();
    let ops = [Op::delete(key).when(condition), Op::put(place(), mark.as_bytes())];
    if system.takes_at_once(work, &ops) {
        return system.apply(work, &ops).await;
    }
    system.delete(work, Delete::new(key).when(condition)).await.map(|_| ())
}
