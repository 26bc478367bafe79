//! Re-encryption: what is sealed with an older key is sealed with the newest. Each step is one change of one secret like any
//! other, so that whoever reads or writes meanwhile loses nothing, and one that breaks off is done again. A version that
//! is sealed anew has another tag, which its secret's metadata learns in the same change.

use keyway_loader::{Key, Put};

use super::{
    change::Change,
    engine::{Engine, EngineError, Stored},
    path::SecretPath,
    plain,
    record::{METADATA_PREFIX, version_key},
};
use crate::{barrier::Resealed, crypto::envelope::key_number};

/// How often a secret that others keep changing is tried. What they write is sealed with the newest key anyway.
const ATTEMPTS: u32 = 64;

impl Engine<'_> {
    /// Looks at some secrets of this mount behind the key `after`, and seals with the newest key what is sealed with one
    /// before `key`.
    ///
    /// # Errors
    ///
    /// When the store cannot be scanned. A secret that cannot be sealed anew is counted, and said in the log.
    pub async fn reencrypt(&self, key: u32, after: &[u8]) -> Result<Resealed, EngineError> {
        let keyspace = self.mount.keyspace();
        let prefix = if self.mount.kv_version == 1 { plain::PREFIX } else { METADATA_PREFIX };
        let page = self.storage.keys_behind(self.request, &keyspace, prefix.as_bytes(), after).await?;
        let mut resealed = Resealed::default();
        for name in &page.keys {
            resealed.seen += 1;
            match self.reencrypt_one(name, prefix, key).await {
                Ok(sealed) => resealed.sealed += sealed,
                // A store that is away is no fault of the secret's.
                Err(EngineError::Storage(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::error!(%error, "a secret cannot be sealed anew");
                    resealed.failed += 1;
                }
            }
        }
        resealed.next = page.next;
        Ok(resealed)
    }

    async fn reencrypt_one(&self, entry: &[u8], prefix: &str, key: u32) -> Result<u64, EngineError> {
        let name = entry.strip_prefix(prefix.as_bytes()).and_then(|name| std::str::from_utf8(name).ok());
        let path = name.and_then(|name| SecretPath::parse(name).ok());
        let Some(path) = path else {
            return Err(EngineError::Custom(format!(
                "mount {}: a record has a key that is no secret's",
                self.mount.uuid
            )));
        };
        let mut sealed = 0;
        for _ in 0..ATTEMPTS {
            let step = if self.mount.kv_version == 1 {
                self.reencrypt_plain(&path, entry, key).await
            } else {
                self.reencrypt_step(&path, key).await
            };
            match step {
                Ok(false) => return Ok(sealed),
                Ok(true) => sealed += 1,
                // Read again: it may be done, or be another's.
                Err(EngineError::Storage(error)) if error.is_lost_race() || error.is_unknown() => {}
                Err(error) => return Err(error),
            }
        }
        Err(EngineError::Contended)
    }

    /// Seals one record of a secret anew, where there is one to be; whether there was.
    async fn reencrypt_step(&self, path: &SecretPath, key: u32) -> Result<bool, EngineError> {
        let Some(stored) = self.load(path).await? else { return Ok(false) };
        let Stored { opened, version } = &stored;
        let number = opened.metadata.current_version;
        if is_older(&opened.current, key) || opened.key < key {
            return self.reencrypt_current(path, &stored, key).await.map(|()| true);
        }
        for (older, known) in opened.metadata.versions.iter().filter(|(older, _)| **older != number) {
            if known.destroyed {
                continue;
            }
            let Some(envelope) = self.load_version(path, *older, known).await? else {
                return Err(self.sealer().missing(path, *older).into());
            };
            if !is_older(&envelope, key) {
                continue;
            }
            let value = self.sealer().open_value(path, *older, known, &envelope).await?;
            let anew = self.sealer().seal_value(path, *older, &value).await?;
            let mut metadata = opened.metadata.clone();
            let known_anew = known.resealed(&anew);
            let aside = Some((version_key(path, *older, &known_anew), anew.as_slice()));
            metadata.versions.insert(*older, known_anew);
            let record = self.sealer().seal_record(path, &metadata, &opened.current).await?;
            let removed = vec![version_key(path, *older, known)];
            let before = Some(*version);
            self.change(&Change { path, before, next: Some(&record), aside, removed }).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The metadata, and with it the value of the current version.
    async fn reencrypt_current(
        &self,
        path: &SecretPath,
        stored: &Stored,
        key: u32,
    ) -> Result<(), EngineError> {
        let mut metadata = stored.opened.metadata.clone();
        let number = metadata.current_version;
        let (mut current, mut removed) = (stored.opened.current.clone(), Vec::new());
        if let Some(known) = metadata.current().filter(|_| is_older(&current, key)) {
            let value = self.sealer().open_value(path, number, known, &current).await?;
            let anew = self.sealer().seal_value(path, number, &value).await?;
            // Where a change that broke off may have left a copy of it.
            removed.push(version_key(path, number, known));
            let known = known.resealed(&anew);
            metadata.versions.insert(number, known);
            current = anew;
        }
        let record = self.sealer().seal_record(path, &metadata, &current).await?;
        let before = Some(stored.version);
        self.change(&Change { path, before, next: Some(&record), aside: None, removed }).await
    }

    async fn reencrypt_plain(&self, path: &SecretPath, entry: &[u8], key: u32) -> Result<bool, EngineError> {
        let keyspace = self.mount.keyspace();
        let place = Key::new(&keyspace, entry);
        let Some(record) = self.storage.get(self.request, place).await? else { return Ok(false) };
        if !is_older(record.value(), key) {
            return Ok(false);
        }
        let opened = self.barrier.open(self.request, &self.plain_record(entry), record.value()).await;
        let value = opened.map_err(|source| self.sealer().error(path, source))?;
        let anew = self.barrier.seal(self.request, &self.plain_record(entry), &value).await?;
        let condition = keyway_loader::Condition::Version(record.version());
        self.storage.put(self.request, Put::new(place, &anew).when(condition)).await?;
        Ok(true)
    }
}

/// Whether an envelope is sealed with a key before `key`; what is no envelope is for its reader to find.
fn is_older(envelope: &[u8], key: u32) -> bool {
    key_number(envelope).is_ok_and(|number| number < key)
}
