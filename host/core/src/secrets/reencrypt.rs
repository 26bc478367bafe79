//! Re-encryption: seals with the newest key what an older key has sealed. Each step is one ordinary change of
//! one secret. So concurrent readers and writers lose nothing, and an interrupted step is done again. A
//! version that is sealed again has another tag; the same change writes the tag to the secret's metadata.

use std::time::Duration;

use keyway_crypto::envelope::key_number;
use keyway_loader::{Key, Put};

use super::{
    change::Change,
    engine::{Engine, EngineError, Stored},
    metadata::VersionMetadata,
    path::SecretPath,
    plain,
    record::{METADATA_PREFIX, RecordError, version_key, version_keys},
};
use crate::barrier::Resealed;

/// How often races for one record are lost before it is left for the next time.
const ATTEMPTS: u32 = 64;
/// The pause after a lost race.
const PAUSE: Duration = Duration::from_millis(2);

/// How far one secret is.
#[derive(Default)]
struct OneSecret {
    /// Older versions up to this one are done with.
    done: u64,
    /// Whether the current version is known not to open.
    is_current_damaged: bool,
    sealed: u64,
    failed: bool,
}

impl Engine<'_> {
    /// Looks at some secrets of this mount after the key `after`. Values that a key before `key` has sealed,
    /// it seals again with the newest key.
    ///
    /// # Errors
    ///
    /// `Storage` if the store does not serve. Versions of the first secret may be sealed again already; they are
    /// not counted. A secret that cannot be sealed again is counted, and said in the log; it stays as it is.
    pub async fn reencrypt(&self, key: u32, after: &[u8]) -> Result<Resealed, EngineError> {
        let keyspace = self.mount.keyspace();
        let prefix = if self.mount.kv_version == 1 { plain::PREFIX } else { METADATA_PREFIX };
        let page = self.storage.keys_after(self.work, &keyspace, prefix.as_bytes(), after).await?;
        let mut resealed = Resealed::default();
        let mut done = None;
        for name in &page.keys {
            let mut one = OneSecret::default();
            let outcome = self.reencrypt_one(name, prefix, key, &mut one).await;
            resealed.sealed += one.sealed;
            match outcome {
                // A store that is away is no fault of the secret's: what was done until then counts.
                Err(error) if error.is_transient() => {
                    return match done {
                        Some(done) => Ok(Resealed { next: Some(done), ..resealed }),
                        None => Err(error),
                    };
                }
                Err(error) => {
                    tracing::error!(%error, "a secret cannot be sealed again");
                    resealed.failed += 1;
                }
                Ok(()) => resealed.failed += u64::from(one.failed),
            }
            resealed.seen += 1;
            done = Some(name.clone());
        }
        resealed.next = page.next;
        Ok(resealed)
    }

    async fn reencrypt_one(
        &self,
        entry: &[u8],
        prefix: &str,
        key: u32,
        one: &mut OneSecret,
    ) -> Result<(), EngineError> {
        let name = entry.strip_prefix(prefix.as_bytes()).and_then(|name| std::str::from_utf8(name).ok());
        let path = name.and_then(|name| SecretPath::parse(name).ok());
        let Some(path) = path else {
            return Err(EngineError::ForeignKey { mount: self.mount.uuid });
        };
        let mut lost = 0;
        while lost < ATTEMPTS {
            let step = if self.mount.kv_version == 1 {
                self.reencrypt_plain(&path, entry, key).await
            } else {
                self.reencrypt_step(&path, key, one).await
            };
            match step {
                Ok(false) => return Ok(()),
                Ok(true) => {
                    one.sealed += 1;
                    lost = 0;
                }
                // Read again: it may be done, or be another's.
                Err(error) if error.is_worth_another_look() => {
                    lost += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(EngineError::Contended)
    }

    /// Seals one record of a secret again, if there is one to be; whether there was.
    async fn reencrypt_step(
        &self,
        path: &SecretPath,
        key: u32,
        one: &mut OneSecret,
    ) -> Result<bool, EngineError> {
        let Some(stored) = self.load(path).await? else { return Ok(false) };
        let metadata = &stored.opened.metadata;
        let is_current_older = is_older(&stored.opened.current, key) && !one.is_current_damaged;
        if is_current_older || stored.opened.key < key {
            return self.reencrypt_current(path, &stored, key, one).await.map(|()| true);
        }
        for (older, known) in metadata.versions.range(one.done + 1..metadata.current_version) {
            if !known.destroyed && self.reencrypt_version(path, &stored, *older, key, one).await? {
                return Ok(true);
            }
            one.done = *older;
        }
        Ok(false)
    }

    /// One older version, if it is sealed with an older key; whether it was.
    async fn reencrypt_version(
        &self,
        path: &SecretPath,
        stored: &Stored,
        number: u64,
        key: u32,
        one: &mut OneSecret,
    ) -> Result<bool, EngineError> {
        let Stored { opened, version } = stored;
        let Some(known) = opened.metadata.versions.get(&number) else { return Ok(false) };
        let Some(envelope) = self.load_version(path, number, known).await? else {
            // Removed, or sealed again, since the metadata was read?
            let now = self.metadata(path).await?;
            if now.as_ref().and_then(|now| now.versions.get(&number)) == Some(known) {
                self.cannot(&self.sealer().missing(path, number), one);
            }
            return Ok(false);
        };
        if !is_older(&envelope, key) {
            return Ok(false);
        }
        let value = match self.sealer().open_value(path, number, known, &envelope).await {
            Ok(value) => value,
            Err(error @ RecordError::Unopenable { .. }) => {
                self.cannot(&error, one);
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let resealed = self.sealer().seal_value(path, number, &value).await?;
        let with = async |known: VersionMetadata| {
            let mut metadata = opened.metadata.clone();
            metadata.versions.insert(number, known);
            self.sealer().seal_record(path, &metadata, &opened.current).await
        };
        let known_resealed = known.resealed(&resealed);
        let record = with(known_resealed.clone()).await?;
        let change = Change {
            path,
            before: Some(*version),
            next: Some(&record),
            aside: Some((version_key(path, number, &known_resealed), resealed.as_slice())),
            removed: version_keys(path, number, known).collect(),
        };
        if self.happens_at_once(&change) {
            self.change(&change).await?;
            return Ok(true);
        }
        // In steps: the next envelope is known before it is in the store, so that no sweep in between removes it.
        let announced = known.to_be_resealed(&resealed);
        let record = with(announced).await?;
        let before = Some(*version);
        self.change(&Change { path, before, next: Some(&record), aside: None, removed: Vec::new() }).await?;
        let Some(now) = self.load(path).await? else { return Ok(false) };
        let as_announced = now.opened.metadata.versions.get(&number).and_then(VersionMetadata::next);
        if as_announced.as_ref() != Some(&known_resealed) {
            // Another writer was faster: the record is read again.
            return Err(EngineError::Contended);
        }
        let mut metadata = now.opened.metadata.clone();
        metadata.versions.insert(number, known_resealed);
        let record = self.sealer().seal_record(path, &metadata, &now.opened.current).await?;
        self.change(&Change { before: Some(now.version), next: Some(&record), ..change }).await?;
        Ok(true)
    }

    fn cannot(&self, error: &RecordError, one: &mut OneSecret) {
        tracing::error!(%error, "a version cannot be sealed again, and stays as it is");
        one.failed = true;
    }

    /// The metadata, and with it the value of the current version.
    async fn reencrypt_current(
        &self,
        path: &SecretPath,
        stored: &Stored,
        key: u32,
        one: &mut OneSecret,
    ) -> Result<(), EngineError> {
        let mut metadata = stored.opened.metadata.clone();
        let number = metadata.current_version;
        let (mut current, mut removed) = (stored.opened.current.clone(), Vec::new());
        let known =
            metadata.current().filter(|_| is_older(&current, key) && !one.is_current_damaged).cloned();
        if let Some(known) = known {
            match self.sealer().open_value(path, number, &known, &current).await {
                Ok(value) => {
                    let resealed = self.sealer().seal_value(path, number, &value).await?;
                    // Where a change that broke off may have left a copy of it.
                    removed.extend(version_keys(path, number, &known));
                    metadata.versions.insert(number, known.resealed(&resealed));
                    current = resealed;
                }
                Err(error @ RecordError::Unopenable { .. }) => {
                    self.cannot(&error, one);
                    one.is_current_damaged = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let record = self.sealer().seal_record(path, &metadata, &current).await?;
        let before = Some(stored.version);
        self.change(&Change { path, before, next: Some(&record), aside: None, removed }).await
    }

    async fn reencrypt_plain(&self, path: &SecretPath, entry: &[u8], key: u32) -> Result<bool, EngineError> {
        let keyspace = self.mount.keyspace();
        let place = Key::new(&keyspace, entry);
        let Some(record) = self.storage.get(self.work, place).await? else { return Ok(false) };
        if !is_older(record.value(), key) {
            return Ok(false);
        }
        let opened = self.barrier.open(self.work, &self.plain_record(entry), record.value()).await;
        let value = opened.map_err(|source| self.sealer().error(path, source))?;
        let resealed = self.barrier.seal(self.work, &self.plain_record(entry), &value).await?;
        let condition = keyway_loader::Condition::Version(record.version());
        self.storage.put(self.work, Put::new(place, &resealed).when(condition)).await?;
        Ok(true)
    }
}

/// Whether a key before `key` has sealed an envelope. Bytes that are no envelope are left for their reader to
/// find.
fn is_older(envelope: &[u8], key: u32) -> bool {
    key_number(envelope).is_ok_and(|number| number < key)
}
