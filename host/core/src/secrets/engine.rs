//! The engine of one mount, for one request: reading and listing. Other modules change secrets:
//! [`write`](mod@super::write), [`versions`](super::versions), [`remove`](super::remove), all through
//! [`change`](super::change).

use keyway_common::clock;
use keyway_crypto::key::RandomError;
use keyway_loader::{Key, Scan, Version, WriteId};
use keyway_storage::{Storage, StorageError, Work, prefetch::Prefetched};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    merge::MergeError,
    metadata::{Metadata, VersionMetadata},
    path::{FolderPath, SecretPath},
    record::{OpenedRecord, RecordError, Sealer, folder_prefix, metadata_key, version_key},
};
use crate::{
    barrier::{Barrier, BarrierError},
    mounts::Mount,
};

/// Most names that one list answers with.
const MAX_LISTED: usize = 100_000;

/// The engine of one mount, for one request.
pub struct Engine<'a> {
    pub(super) barrier: &'a Barrier,
    pub(super) mount: &'a Mount,
    pub(super) storage: &'a Storage,
    pub(super) work: &'a Work,
    /// What was read already, for the first look at a secret.
    pub(super) prefetched: Option<&'a Prefetched>,
}

/// Why an operation failed.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The given version is not the current one.
    #[error("check-and-set parameter did not match the current version")]
    CasMismatch {
        /// The current version; zero if there is none.
        current: u64,
    },
    /// The mount or the secret wants one.
    #[error("check-and-set parameter required for this call")]
    CasRequired,
    /// The `custom_metadata` are not within their bounds, or `metadata_cas` is missing or names another
    /// version.
    #[error("{reason}")]
    Metadata {
        /// Which name or version, and why.
        reason: String,
    },
    /// The keyspace of a mount holds a key that is not the path of a secret.
    #[error("mount {mount}: a record has a key that is not a secret's")]
    ForeignKey {
        /// The mount's id.
        mount: uuid::Uuid,
    },
    /// A patch that is no merge patch of an object.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Other writers were faster each time.
    #[error("too many concurrent writes to this secret; nothing was changed")]
    Contended,
    /// A list with more names than it may have.
    #[error("the folder holds more than {MAX_LISTED} names; ask for them in parts, with limit and after")]
    TooMany,
    /// A record in the store is not what was written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A value could not be sealed.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl EngineError {
    /// Whether a store does not serve just now, so that a later attempt may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_transient(),
            Self::Barrier(error) | Self::Record(RecordError::Barrier { source: error, .. }) => {
                !matches!(error, BarrierError::Open(_))
            }
            _ => false,
        }
    }

    /// Whether others were quicker, or it is not known what happened.
    pub(super) fn is_worth_another_look(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_lost_race() || error.is_unknown(),
            Self::Contended => true,
            _ => false,
        }
    }
}

/// A version that was read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundVersion {
    /// Its number.
    pub version: u64,
    /// Its metadata.
    pub metadata: VersionMetadata,
    /// The secret's custom metadata.
    pub custom: Option<std::collections::BTreeMap<String, String>>,
}

/// The result of reading one version.
pub enum Read {
    /// There is no such secret or version.
    Missing,
    /// It is deleted or destroyed.
    Deleted(FoundVersion),
    /// Its value.
    Value(FoundVersion, Zeroizing<Vec<u8>>),
}

/// Which part of a folder's names.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part<'a> {
    /// Only names after this one.
    pub after: Option<&'a str>,
    /// At most this number of names.
    pub limit: Option<usize>,
}

/// Which of the names below a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Those in it; those of folders in it end with a slash.
    Level,
    /// Those of all secrets, however many folders are between.
    All,
}

/// A secret as it is in the store, with the version of its record.
pub(super) struct Stored {
    pub(super) opened: OpenedRecord,
    pub(super) version: Version,
}

impl<'a> Engine<'a> {
    /// The engine of a mount.
    pub fn new(barrier: &'a Barrier, mount: &'a Mount, storage: &'a Storage, work: &'a Work) -> Self {
        Self { barrier, mount, storage, work, prefetched: None }
    }

    /// What was prefetched is not read again.
    #[must_use]
    pub fn with_prefetched(self, prefetched: &'a Prefetched) -> Self {
        Self { prefetched: Some(prefetched), ..self }
    }

    /// Reads the current version, or an older one.
    ///
    /// # Errors
    ///
    /// `Storage` if the store cannot be read; `Record` if a record does not open or is missing.
    pub async fn read(&self, path: &SecretPath, version: Option<u64>) -> Result<Read, EngineError> {
        let mut stored = self.load_first(path).await?;
        loop {
            let Some(Stored { opened, .. }) = stored else { return Ok(Read::Missing) };
            let OpenedRecord { metadata, current, .. } = opened;
            let number = version.unwrap_or(metadata.current_version);
            let Some(found) = metadata.found(number) else { return Ok(Read::Missing) };
            let known = &found.metadata;
            if !known.is_readable(clock::timestamp()) {
                return Ok(Read::Deleted(found));
            }
            let sealed = if number == metadata.current_version {
                Some(current)
            } else {
                self.load_version(path, number, known).await?
            };
            let Some(sealed) = sealed else {
                // Removed while it was read? Then the metadata no longer knows this sealing.
                stored = self.load(path).await?;
                if stored.as_ref().and_then(|stored| stored.opened.metadata.versions.get(&number))
                    == Some(known)
                {
                    return Err(self.sealer().missing(path, number).into());
                }
                continue;
            };
            let value = self.sealer().open_value(path, number, known, &sealed).await?;
            return Ok(Read::Value(found, value));
        }
    }

    /// The metadata of a secret.
    ///
    /// # Errors
    ///
    /// `Storage` if the store cannot be read; `Record` if the record does not open.
    pub async fn metadata(&self, path: &SecretPath) -> Result<Option<Metadata>, EngineError> {
        Ok(self.load_first(path).await?.map(|stored| stored.opened.metadata))
    }

    /// The names in a folder in order; those of folders end with a slash. Values are not read.
    ///
    /// # Errors
    ///
    /// `TooMany` for a folder with more names than an answer takes; `Storage` if the store cannot list the
    /// keys.
    pub async fn list(&self, folder: &FolderPath, part: Part<'_>) -> Result<Vec<String>, EngineError> {
        self.list_below(folder_prefix(folder), part, Depth::Level).await
    }

    /// The names in a folder and in all folders below, in order, seen from the folder.
    ///
    /// # Errors
    ///
    /// `TooMany` for a tree with more names than an answer takes; `Storage` if the store cannot list the
    /// keys.
    pub async fn scan(&self, folder: &FolderPath, part: Part<'_>) -> Result<Vec<String>, EngineError> {
        self.list_below(folder_prefix(folder), part, Depth::All).await
    }

    /// The names below a prefix of keys.
    pub(super) async fn list_below(
        &self,
        prefix: Vec<u8>,
        part: Part<'_>,
        depth: Depth,
    ) -> Result<Vec<String>, EngineError> {
        let keyspace = self.mount.keyspace();
        let start = part.after.map(|after| first_key_after(&prefix, after, depth)).unwrap_or_default();
        let wanted = part.limit.unwrap_or(usize::MAX);
        let (mut names, mut cursor) = (Vec::<String>::new(), Vec::new());
        loop {
            let left = u32::try_from(wanted - names.len()).unwrap_or(u32::MAX);
            let scan = Scan::prefix(&keyspace, &prefix)
                .starting_at(&start)
                .keys_only()
                .with_max_items(left.min(Scan::MAX_PAGE_ITEMS))
                .resuming_at(&cursor);
            let scan = if depth == Depth::Level { scan.delimited_by(b"/") } else { scan };
            let page = self.storage.scan(self.work, scan).await?;
            let keys = page.entries().iter().map(keyway_loader::Entry::key);
            let folders = page.prefixes().iter().map(|prefix| &**prefix);
            let found = keys.chain(folders).filter_map(|key| {
                key.strip_prefix(prefix.as_slice()).map(|name| String::from_utf8_lossy(name).into_owned())
            });
            // A folder may begin before `after` and reach beyond it.
            names.extend(found.filter(|name| part.after.is_none_or(|after| name.as_str() > after)));
            if names.len() > MAX_LISTED {
                return Err(EngineError::TooMany);
            }
            match page.cursor() {
                Some(next) if names.len() < wanted => cursor = next.to_vec(),
                _ => {
                    names.sort_unstable();
                    return Ok(names);
                }
            }
        }
    }

    pub(super) fn sealer(&self) -> Sealer<'_> {
        Sealer { barrier: self.barrier, work: self.work, mount: self.mount.uuid }
    }

    /// As [`load`](Self::load); what was prefetched is as good.
    async fn load_first(&self, path: &SecretPath) -> Result<Option<Stored>, EngineError> {
        self.load_with(path, self.prefetched).await
    }

    pub(super) async fn load(&self, path: &SecretPath) -> Result<Option<Stored>, EngineError> {
        self.load_with(path, None).await
    }

    async fn load_with(
        &self,
        path: &SecretPath,
        prefetched: Option<&Prefetched>,
    ) -> Result<Option<Stored>, EngineError> {
        let (keyspace, key) = (self.mount.keyspace(), metadata_key(path));
        let found = self.storage.get_or_prefetched(self.work, Key::new(&keyspace, &key), prefetched).await?;
        let Some(record) = found.record() else { return Ok(None) };
        let opened = self.sealer().open_record(path, record.value()).await?;
        Ok(Some(Stored { opened, version: record.version() }))
    }

    pub(super) async fn load_version(
        &self,
        path: &SecretPath,
        version: u64,
        metadata: &VersionMetadata,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let (keyspace, key) = (self.mount.keyspace(), version_key(path, version, metadata));
        let record = self.storage.get(self.work, Key::new(&keyspace, &key)).await?;
        Ok(record.map(|record| record.value().to_vec()))
    }
}

/// The first key that a name after `after` can have: all keys in a folder of that name lie before it.
fn first_key_after(prefix: &[u8], after: &str, depth: Depth) -> Vec<u8> {
    let name = after.as_bytes();
    match name.strip_suffix(b"/") {
        Some(folder) if depth == Depth::Level => [prefix, folder, &[b'/' + 1]].concat(),
        _ => [prefix, name, &[0]].concat(),
    }
}

impl Metadata {
    /// A version with its number.
    pub fn found(&self, version: u64) -> Option<FoundVersion> {
        let metadata = self.versions.get(&version)?.clone();
        // Without any name it is as if it had never been written.
        let custom = self.custom.clone().filter(|custom| !custom.is_empty());
        Some(FoundVersion { version, metadata, custom })
    }

    /// The version that a write made, if it made one.
    pub(super) fn written_by(&self, mark: WriteId) -> Option<FoundVersion> {
        let mut versions = self.versions.iter().rev();
        let (version, _) = versions.find(|(_, metadata)| metadata.was_written_by(mark))?;
        self.found(*version)
    }
}
