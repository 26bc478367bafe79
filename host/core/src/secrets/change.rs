//! One change of a secret, of however many records. Its commit point is one conditional write of the metadata
//! record, so that concurrent writers never lose a version on any backend.
//!
//! If the backend has atomic batches, and the change fits into one, all of it happens at once. Otherwise it
//! writes the *intent* first: the record `g/<path>`, a zero byte and eight random bytes. After that come the
//! version that is moved aside, the commit point, and the removal of records that nothing refers to any more.
//! The intent is removed last.
//!
//! A change that breaks off leaves the intent, and the [`sweep`](super::sweep) does the rest. Before its
//! commit point it may also leave a copy of the current version at the key of the moved one. The next change
//! overwrites that copy. A change that removes or destroys a version removes that key too, even for the
//! current version.

use keyway_common::clock;
use keyway_crypto::key::random_bytes;
use keyway_loader::{Condition, Delete, Key, Op, Put, Version};
use keyway_storage::StorageError;

use super::{
    engine::{Engine, EngineError},
    path::SecretPath,
    record::{intent_key, metadata_key},
};

/// What becomes of the records of one secret.
pub(super) struct Change<'c> {
    pub(super) path: &'c SecretPath,
    /// The version of the metadata record that was read; none if there was none.
    pub(super) before: Option<Version>,
    /// The next metadata record; none removes it.
    pub(super) next: Option<&'c [u8]>,
    /// The key and the sealed value of the version that gives way to a newer one.
    pub(super) aside: Option<(Vec<u8>, &'c [u8])>,
    /// The keys of versions that nothing refers to afterwards, of the current one too.
    pub(super) removed: Vec<Vec<u8>>,
}

impl Change<'_> {
    fn condition(&self) -> Condition {
        self.before.map_or(Condition::Absent, Condition::Version)
    }

    fn ops<'o>(&'o self, keyspace: &'o str, key: &'o [u8]) -> Vec<Op<'o>> {
        let point = match self.next {
            Some(next) => Op::put(Key::new(keyspace, key), next),
            None => Op::delete(Key::new(keyspace, key)),
        };
        let mut ops = vec![point.when(self.condition())];
        ops.extend(self.aside.as_ref().map(|(key, sealed)| Op::put(Key::new(keyspace, key), sealed)));
        ops.extend(self.removed.iter().map(|key| Op::delete(Key::new(keyspace, key))));
        ops
    }
}

impl Engine<'_> {
    /// Makes a change.
    ///
    /// # Errors
    ///
    /// The store's: a lost race if the secret is no longer as it was read.
    pub(super) async fn change(&self, change: &Change<'_>) -> Result<(), EngineError> {
        let (keyspace, key) = (self.mount.keyspace(), metadata_key(change.path));
        let condition = change.condition();
        let ops = change.ops(&keyspace, &key);
        if ops.len() == 1 {
            return Ok(self.commit(change, condition).await?);
        }
        if self.storage.takes_at_once(self.work, &ops) {
            return Ok(self.storage.apply(self.work, &ops).await?);
        }
        self.change_in_steps(change, condition).await
    }

    /// Whether all of a change happens at once.
    pub(super) fn happens_at_once(&self, change: &Change<'_>) -> bool {
        let (keyspace, key) = (self.mount.keyspace(), metadata_key(change.path));
        let ops = change.ops(&keyspace, &key);
        ops.len() == 1 || self.storage.takes_at_once(self.work, &ops)
    }

    async fn change_in_steps(&self, change: &Change<'_>, condition: Condition) -> Result<(), EngineError> {
        let keyspace = self.mount.keyspace();
        let intent = intent_key(change.path, random_bytes()?);
        let begun = clock::unix_seconds().to_be_bytes();
        // Nothing refers to these two before the commit point, and no other change uses their keys. So the
        // secret has not changed, whatever their outcome is.
        self.put_before_point(Put::new(Key::new(&keyspace, &intent), &begun)).await?;
        if let Some((key, sealed)) = &change.aside {
            self.put_before_point(Put::new(Key::new(&keyspace, key), sealed)).await?;
        }
        self.commit(change, condition).await?;
        if let Err(error) = self.sweep_intent(change.path, &intent).await {
            tracing::warn!(%error, "a change is made; a sweep removes its leftovers later");
        }
        Ok(())
    }

    async fn put_before_point(&self, put: Put<'_>) -> Result<(), StorageError> {
        let written = self.storage.put(self.work, put).await;
        written.map(|_| ()).map_err(StorageError::not_applied)
    }

    /// The commit point.
    async fn commit(&self, change: &Change<'_>, condition: Condition) -> Result<(), StorageError> {
        let (keyspace, key) = (self.mount.keyspace(), metadata_key(change.path));
        let key = Key::new(&keyspace, &key);
        match change.next {
            Some(next) => self.storage.put(self.work, Put::new(key, next).when(condition)).await.map(|_| ()),
            None => self.storage.delete(self.work, Delete::new(key).when(condition)).await.map(|_| ()),
        }
    }
}
