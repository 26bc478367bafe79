//! The sweep: removes versions that nothing refers to, which changes that broke off have left.

use std::{collections::HashSet, time::Duration};

use keyway_common::clock;
use keyway_loader::{Delete, Entry, Key, Scan};

use super::{
    engine::{Engine, EngineError},
    path::SecretPath,
    record::{INTENT_PREFIX, path_of_intent, version_keys, version_prefix},
};

/// The age at which an intent counts as abandoned: far more than a change may take.
const ABANDONED: Duration = Duration::from_secs(300);

/// What a sweep has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Intents that are done with.
    pub done: usize,
    /// Intents of changes that may still be under way.
    pub left: usize,
}

impl Engine<'_> {
    /// Sweeps after all changes of this mount that broke off at least five minutes ago. `all` includes
    /// changes that began just now, which is right if no other host can be at work.
    ///
    /// # Errors
    ///
    /// The first that it met, after it has tried all.
    pub async fn sweep(&self, all: bool) -> Result<Swept, EngineError> {
        let keyspace = self.mount.keyspace();
        let (mut swept, mut failed, mut cursor) = (Swept::default(), None, Vec::new());
        let mut latest = None::<SecretPath>;
        loop {
            let scan = Scan::prefix(&keyspace, INTENT_PREFIX)
                .with_max_items(Scan::MAX_PAGE_ITEMS)
                .resuming_at(&cursor);
            let page = self.storage.scan(self.work, scan).await?;
            for entry in page.entries() {
                let Some(path) = path_of_intent(entry.key()) else {
                    tracing::error!(mount = %self.mount.uuid, "an intent has a key that is none");
                    continue;
                };
                if !all && !is_abandoned(entry) {
                    swept.left += 1;
                    continue;
                }
                // The intents of one secret follow each other; the first one has it swept.
                let again = latest.as_ref() == Some(&path);
                let done = if again {
                    self.forget_intent(entry.key()).await
                } else {
                    self.sweep_intent(&path, entry.key()).await
                };
                match done {
                    Ok(()) => {
                        swept.done += 1;
                        latest = Some(path);
                    }
                    Err(error) => failed = Some(failed.unwrap_or(error)),
                }
            }
            match page.cursor() {
                Some(next) => cursor = next.to_vec(),
                None => return failed.map_or(Ok(swept), Err),
            }
        }
    }

    /// Removes what nothing refers to of one secret, and then the intent.
    pub(super) async fn sweep_intent(&self, path: &SecretPath, intent: &[u8]) -> Result<(), EngineError> {
        self.sweep_secret(path).await?;
        self.forget_intent(intent).await
    }

    async fn forget_intent(&self, intent: &[u8]) -> Result<(), EngineError> {
        let keyspace = self.mount.keyspace();
        self.storage.delete(self.work, Delete::new(Key::new(&keyspace, intent))).await?;
        Ok(())
    }

    /// Removes the records of one secret that nothing refers to. A version is in the metadata before its
    /// record is made, so no record that is referred to is removed.
    pub(super) async fn sweep_secret(&self, path: &SecretPath) -> Result<(), EngineError> {
        let (keyspace, prefix) = (self.mount.keyspace(), version_prefix(path));
        let (mut keys, mut cursor) = (Vec::new(), Vec::new());
        loop {
            let scan = Scan::prefix(&keyspace, &prefix)
                .keys_only()
                .with_max_items(Scan::MAX_PAGE_ITEMS)
                .resuming_at(&cursor);
            let page = self.storage.scan(self.work, scan).await?;
            keys.extend(page.entries().iter().map(|entry| entry.key().to_vec()));
            match page.cursor() {
                Some(next) => cursor = next.to_vec(),
                None => break,
            }
        }
        // Read after the keys were seen.
        let metadata = self.metadata(path).await?;
        let referred: HashSet<Vec<u8>> = metadata
            .iter()
            .flat_map(|metadata| &metadata.versions)
            .filter(|(_, version)| !version.destroyed)
            .flat_map(|(number, version)| version_keys(path, *number, version))
            .collect();
        keys.retain(|key| !referred.contains(key));
        let keys: Vec<Key<'_>> = keys.iter().map(|key| Key::new(&keyspace, key)).collect();
        self.storage.delete_all(self.work, &keys).await?;
        Ok(())
    }
}

fn is_abandoned(intent: &Entry) -> bool {
    let begun = intent.record().value().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    clock::unix_seconds().abs_diff(begun) > ABANDONED.as_secs()
}
