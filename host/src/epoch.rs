//! The epoch: a mark in the system's store that changes together with what hosts keep in memory of it, which is policies,
//! mounts, the keyring and the audit devices. A host that reads another mark than the one that it knows reads all of these
//! again; one that reads the same knows that nothing has changed. Nobody needs a leader for that, or a message.
//!
//! The mark is random, and not sealed: who can replay it can replay what it stands for, too.

use keyway_loader::{Condition, Delete, Key, Op, Put, Record, Version};
use uuid::Uuid;

use crate::{
    seal::SYSTEM_KEYSPACE,
    storage::{RequestId, Storage, StorageError},
};

const KEY: &[u8] = b"epoch";

/// A mark as it was read; none where nothing was changed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch(Option<Vec<u8>>);

/// How a host learns of what others change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// There are none.
    Absent,
    /// By the epoch.
    Tell,
    /// Not at all: the store cannot change two records at once.
    Silent,
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
pub fn others(system: &Storage) -> Others {
    match (system.is_shared_by_hosts(), system.has_atomic_batches()) {
        (false, _) => Others::Absent,
        (true, true) => Others::Tell,
        (true, false) => Others::Silent,
    }
}

/// As [`Storage::put_settled`], and every host knows of it.
///
/// # Errors
///
/// The store's.
pub async fn put(system: &Storage, request: RequestId, put: Put<'_>) -> Result<Version, StorageError> {
    let mark = Uuid::new_v4();
    system.put_settled_with(request, put, &[Op::put(place(), mark.as_bytes())]).await
}

/// As [`Storage::delete`], and every host knows of it.
///
/// # Errors
///
/// The store's.
pub async fn delete(
    system: &Storage,
    request: RequestId,
    key: Key<'_>,
    condition: Condition,
) -> Result<(), StorageError> {
    let mark = Uuid::new_v4();
    let ops = [Op::delete(key).when(condition), Op::put(place(), mark.as_bytes())];
    if system.takes_at_once(&ops) {
        return system.apply(request, &ops).await;
    }
    system.delete(request, Delete::new(key).when(condition)).await.map(|_| ())
}
