//! Writing a new version: whole, or as a patch of the current one.

use keyway_common::clock;
use keyway_crypto::key::random_bytes;
use keyway_loader::WriteId;
use zeroize::Zeroizing;

use super::{
    change::Change,
    engine::{Engine, EngineError, FoundVersion, Stored},
    merge::merge,
    metadata::{Metadata, NewVersion},
    path::SecretPath,
    race::Race,
    record::{version_key, version_keys},
};

/// What to write.
pub struct Write<'a> {
    /// The value.
    pub content: Content<'a>,
    /// Only if this is the current version; zero: only if there is none.
    pub cas: Option<u64>,
}

/// A value, or how to make it of the current one. Both are JSON objects, kept exactly.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// A merge patch (RFC 7396).
    Patch(&'a [u8]),
}

/// The result of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteResult {
    /// The new version.
    Done(FoundVersion),
    /// There is nothing to patch.
    Missing,
    /// What would be patched is deleted or destroyed.
    Deleted(FoundVersion),
}

/// A version on its way into the store.
struct Next {
    metadata: Metadata,
    record: Vec<u8>,
    removed: Vec<Vec<u8>>,
}

impl Engine<'_> {
    /// Writes a new version.
    ///
    /// # Errors
    ///
    /// `CasMismatch` or `CasRequired`; `Merge`; `Contended` if others write the secret all the time; `Record`
    /// if a present record does not open; `Barrier`, `Random` or `Storage` if the version cannot be sealed or
    /// written. After a storage error with an unknown outcome the version may have been written.
    pub async fn write(&self, path: &SecretPath, write: &Write<'_>) -> Result<WriteResult, EngineError> {
        self.write_marked(path, write, WriteId::new(random_bytes()?)).await
    }

    /// As [`write`](Self::write), with the mark of this write in the metadata: the same for all its attempts.
    pub(super) async fn write_marked(
        &self,
        path: &SecretPath,
        write: &Write<'_>,
        mark: WriteId,
    ) -> Result<WriteResult, EngineError> {
        let (mut race, mut attempted) = (Race::begin(), None::<Next>);
        loop {
            let stored = race.survive(self.load(path).await)?;
            let metadata = stored.as_ref().map(|stored| &stored.opened.metadata);
            let state = stored.as_ref().map(|stored| stored.version);
            if race.is_perhaps_done()
                && let Some(found) = metadata.and_then(|metadata| metadata.written_by(mark))
            {
                return Ok(WriteResult::Done(found));
            }
            if race.is_perhaps_changed_since(state) {
                // Another's version with the number that ours would have had, or none yet: ours was not
                // written, and on the record as it is now it cannot be any more.
                let is_lost = |attempted: &Next| {
                    attempted.was_taken_by_another(metadata) || attempted.is_not_there(metadata)
                };
                if !attempted.as_ref().is_some_and(is_lost) {
                    return Err(race.stays_unknown());
                }
                race.was_not_done();
            }
            // A patch needs a secret before it needs a version of it.
            if stored.is_none() && matches!(write.content, Content::Patch(_)) {
                return race.finish(WriteResult::Missing);
            }
            self.check(metadata, write.cas).map_err(|error| race.or_unknown(error))?;
            let value = match self.value(path, stored.as_ref(), write.content).await {
                Ok(Ok(value)) => value,
                Ok(Err(unpatched)) => return race.finish(unpatched),
                Err(error) => return Err(race.or_unknown(error)),
            };
            let next = self.next(path, stored.as_ref(), value.as_ref(), mark).await;
            let next = race.survive(next)?;
            match self.store(path, stored.as_ref(), &next).await {
                Ok(()) => return Ok(WriteResult::Done(next.found())),
                Err(error) => race.lost(error, state).await?,
            }
            attempted = Some(next);
        }
    }

    /// Whether the write may follow the current version.
    fn check(&self, metadata: Option<&Metadata>, cas: Option<u64>) -> Result<(), EngineError> {
        let settings = metadata.map(|metadata| metadata.settings).unwrap_or_default();
        if cas.is_none() && settings.within(&self.mount.settings).cas_required {
            return Err(EngineError::CasRequired);
        }
        let current = metadata.map_or(0, |metadata| metadata.current_version);
        match cas {
            Some(cas) if cas != current => Err(EngineError::CasMismatch { current }),
            _ => Ok(()),
        }
    }

    /// The value of the next version, or why there is none.
    async fn value<'v>(
        &self,
        path: &SecretPath,
        stored: Option<&Stored>,
        content: Content<'v>,
    ) -> Result<Result<Value<'v>, WriteResult>, EngineError> {
        let patch = match content {
            Content::Whole(value) => return Ok(Ok(Value::Whole(value))),
            Content::Patch(patch) => patch,
        };
        let Some(opened) = stored.map(|stored| &stored.opened) else { return Ok(Err(WriteResult::Missing)) };
        let number = opened.metadata.current_version;
        let Some(found) = opened.metadata.found(number) else { return Ok(Err(WriteResult::Missing)) };
        if !found.metadata.is_readable(clock::timestamp()) {
            return Ok(Err(WriteResult::Deleted(found)));
        }
        let current = self.sealer().open_value(path, number, &found.metadata, &opened.current).await?;
        Ok(Ok(Value::Patched(merge(&current, patch)?)))
    }

    async fn next(
        &self,
        path: &SecretPath,
        stored: Option<&Stored>,
        value: &[u8],
        mark: WriteId,
    ) -> Result<Next, EngineError> {
        let now = clock::timestamp();
        let before = stored.map(|stored| &stored.opened.metadata);
        let mut metadata = before.cloned().unwrap_or_else(|| Metadata::new(now));
        let sealed = self.sealer().seal_value(path, metadata.current_version + 1, value).await?;
        let effective = metadata.settings.within(&self.mount.settings);
        let pruned = metadata.add(&NewVersion { now, write_id: mark, sealed: &sealed }, &effective);
        let removed = pruned.iter().filter(|(_, version)| !version.destroyed);
        let removed = removed.flat_map(|(number, version)| version_keys(path, *number, version)).collect();
        let record = self.sealer().seal_record(path, &metadata, &sealed).await?;
        Ok(Next { metadata, record, removed })
    }

    /// Moves the current version aside and puts the new one in its place.
    async fn store(
        &self,
        path: &SecretPath,
        stored: Option<&Stored>,
        next: &Next,
    ) -> Result<(), EngineError> {
        let aside = stored.and_then(|stored| {
            let number = stored.opened.metadata.current_version;
            // Unless it is destroyed, or one too many.
            let version = next.metadata.versions.get(&number).filter(|version| !version.destroyed)?;
            Some((version_key(path, number, version), stored.opened.current.as_slice()))
        });
        let before = stored.map(|stored| stored.version);
        let removed = next.removed.clone();
        self.change(&Change { path, before, next: Some(&next.record), aside, removed }).await
    }
}

enum Value<'v> {
    Whole(&'v [u8]),
    Patched(Zeroizing<Vec<u8>>),
}

impl AsRef<[u8]> for Value<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Whole(value) => value,
            Self::Patched(value) => value,
        }
    }
}

impl Next {
    /// Whether another writer made the version with this number, in the same secret.
    fn was_taken_by_another(&self, now: Option<&Metadata>) -> bool {
        now.is_some_and(|now| {
            now.created_time == self.metadata.created_time
                && now.versions.contains_key(&self.metadata.current_version)
        })
    }

    /// Whether the same secret has not come to this version yet.
    fn is_not_there(&self, now: Option<&Metadata>) -> bool {
        now.is_some_and(|now| {
            now.created_time == self.metadata.created_time
                && now.current_version < self.metadata.current_version
        })
    }

    fn found(&self) -> FoundVersion {
        self.metadata.found(self.metadata.current_version).expect("a new version is in its metadata")
    }
}
