//! Operations on versioned secrets. The commit point of every change is one conditional write of the metadata record, so
//! that concurrent writers never lose a version on any backend.

use keyway_loader::{Condition, Delete, Key, Op, Put, Scan, Version, WriteId};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    metadata::{Metadata, VersionMetadata},
    path::{FolderPath, SecretPath},
    race::Race,
    record::{OpenedRecord, RecordError, Sealer, folder_prefix, metadata_key, version_key},
};
use crate::{
    barrier::{Barrier, BarrierError},
    clock,
    crypto::key::{RandomError, random_bytes},
    mounts::Mount,
    storage::{RequestId, Storage, StorageError},
};

/// Most versions that one call removes.
const REMOVED_AT_ONCE: usize = 500;
/// Most names that one list answers with.
const MAX_LISTED: usize = 1_000_000;

/// The engine of one mount, for one request.
pub struct Engine<'a> {
    barrier: &'a Barrier,
    mount: &'a Mount,
    storage: &'a Storage,
    request: RequestId,
}

/// Why an operation failed.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The given version is not the current one.
    #[error("check-and-set parameter did not match the current version")]
    CasMismatch {
        /// The current version; zero where there is none.
        current: u64,
    },
    /// Others kept being quicker.
    #[error("too many concurrent writes to this secret; nothing was changed")]
    Contended,
    /// A list with more names than it may have.
    #[error("the folder holds more than {MAX_LISTED} names")]
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

/// What to write.
pub struct Write<'a> {
    /// The value: a JSON object, kept to the letter.
    pub value: &'a [u8],
    /// Only if this is the current version; zero: only if there is none.
    pub cas: Option<u64>,
}

/// A version that was read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub version: u64,
    /// What is known of it.
    pub metadata: VersionMetadata,
}

/// The result of reading one version.
pub enum Read {
    /// There is no such secret or version.
    Missing,
    /// It is deleted or destroyed.
    Deleted(Found),
    /// Its value.
    Value(Found, Zeroizing<Vec<u8>>),
}

/// A secret as it is in the store, with the version of its record.
struct Stored {
    opened: OpenedRecord,
    version: Version,
}

impl<'a> Engine<'a> {
    /// The engine of a mount.
    pub fn new(barrier: &'a Barrier, mount: &'a Mount, storage: &'a Storage, request: RequestId) -> Self {
        Self { barrier, mount, storage, request }
    }

    /// Reads the current version, or an older one.
    ///
    /// # Errors
    ///
    /// See [`EngineError`].
    pub async fn read(&self, path: &SecretPath, version: Option<u64>) -> Result<Read, EngineError> {
        let mut stored = self.load(path).await?;
        loop {
            let Some(Stored { opened, .. }) = stored else { return Ok(Read::Missing) };
            let OpenedRecord { metadata, current } = opened;
            let number = version.unwrap_or(metadata.current_version);
            let Some(known) = metadata.versions.get(&number) else { return Ok(Read::Missing) };
            let found = Found { version: number, metadata: known.clone() };
            if !known.is_readable() {
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
                    == Some(&found.metadata)
                {
                    return Err(self.sealer().missing(path, number).into());
                }
                continue;
            };
            let value = self.sealer().open_value(path, number, known, &sealed).await?;
            return Ok(Read::Value(found, value));
        }
    }

    /// Writes a new version.
    ///
    /// # Errors
    ///
    /// See [`EngineError`]. After a storage error with an unknown outcome the version may have been written.
    pub async fn write(&self, path: &SecretPath, write: &Write<'_>) -> Result<Found, EngineError> {
        // The mark of this write in the metadata, the same for all its attempts.
        let mark = WriteId::new(random_bytes()?);
        let mut race = Race::begin();
        loop {
            let stored = race.survive(self.load(path).await)?;
            if race.is_perhaps_done()
                && let Some(found) = stored.as_ref().and_then(|stored| stored.written_by(mark))
            {
                return Ok(found);
            }
            let current = stored.as_ref().map_or(0, |stored| stored.opened.metadata.current_version);
            if write.cas.is_some_and(|cas| cas != current) {
                return Err(race.or_unknown(EngineError::CasMismatch { current }));
            }
            let next = self.next_version(path, stored.as_ref(), write.value, mark).await?;
            match self.store(path, stored.as_ref(), &next).await {
                Ok(()) => return Ok(next.found()),
                Err(error) => race.lost(error).await?,
            }
        }
    }

    /// Marks the current version as deleted. Nothing happens where there is none.
    ///
    /// # Errors
    ///
    /// See [`EngineError`].
    pub async fn delete(&self, path: &SecretPath) -> Result<(), EngineError> {
        let mut race = Race::begin();
        loop {
            // Deleting is idempotent: look again, whatever came of an attempt.
            let stored = race.survive(self.load(path).await)?;
            let Some(Stored { opened, version }) = stored else { return Ok(()) };
            let OpenedRecord { mut metadata, current } = opened;
            let number = metadata.current_version;
            let Some(known) = metadata.versions.get_mut(&number).filter(|known| known.is_readable()) else {
                return Ok(());
            };
            known.deletion_time = clock::now();
            known.deletion_time.clone_into(&mut metadata.updated_time);
            let record = self.sealer().seal_record(path, &metadata, &current).await?;
            match self.put_record(path, &record, Condition::Version(version)).await {
                Ok(()) => return Ok(()),
                Err(error) => race.lost(error).await?,
            }
        }
    }

    /// What is known of a secret.
    ///
    /// # Errors
    ///
    /// See [`EngineError`].
    pub async fn metadata(&self, path: &SecretPath) -> Result<Option<Metadata>, EngineError> {
        Ok(self.load(path).await?.map(|stored| stored.opened.metadata))
    }

    /// Removes a secret with all its versions. Nothing happens where there is none.
    ///
    /// # Errors
    ///
    /// See [`EngineError`].
    pub async fn remove(&self, path: &SecretPath) -> Result<(), EngineError> {
        let (keyspace, metadata_key) = (self.mount.keyspace(), metadata_key(path));
        let mut race = Race::begin();
        let mut tried: Option<Metadata> = None;
        loop {
            let stored = race.survive(self.load(path).await)?;
            let Some(Stored { opened, version }) = stored else {
                // Perhaps by an attempt whose outcome was unknown: then its versions are still there.
                return match tried {
                    Some(metadata) => self.remove_versions(path, &metadata).await,
                    None => Ok(()),
                };
            };
            // The metadata first, and only as it was read: without it the versions are unreachable, should the rest fail,
            // and those of a secret that is made again meanwhile have other keys.
            let delete = Delete::new(Key::new(&keyspace, &metadata_key)).when(Condition::Version(version));
            match self.storage.delete(self.request, delete).await {
                Ok(_) => return self.remove_versions(path, &opened.metadata).await,
                Err(error) => race.lost(error).await?,
            }
            tried = Some(opened.metadata);
        }
    }

    async fn remove_versions(&self, path: &SecretPath, metadata: &Metadata) -> Result<(), EngineError> {
        let keyspace = self.mount.keyspace();
        let older = metadata.versions.iter().filter(|(number, _)| **number < metadata.current_version);
        let keys: Vec<Vec<u8>> = older.map(|(number, known)| version_key(path, *number, known)).collect();
        for keys in keys.chunks(REMOVED_AT_ONCE) {
            let keys: Vec<Key<'_>> = keys.iter().map(|key| Key::new(&keyspace, key)).collect();
            self.storage.delete_all(self.request, &keys).await?;
        }
        Ok(())
    }

    /// The names in a folder in order; those of folders end with a slash. Values are not read.
    ///
    /// # Errors
    ///
    /// See [`EngineError`].
    pub async fn list(&self, folder: &FolderPath) -> Result<Vec<String>, EngineError> {
        let (keyspace, prefix) = (self.mount.keyspace(), folder_prefix(folder));
        let (mut names, mut cursor) = (Vec::new(), Vec::new());
        loop {
            let scan = Scan::prefix(&keyspace, &prefix)
                .delimited_by(b"/")
                .keys_only()
                .with_max_items(Scan::MAX_PAGE_ITEMS)
                .resuming_at(&cursor);
            let page = self.storage.scan(self.request, scan).await?;
            let keys = page.entries().iter().map(keyway_loader::Entry::key);
            let folders = page.prefixes().iter().map(|prefix| &**prefix);
            names.extend(keys.chain(folders).filter_map(|key| {
                key.strip_prefix(prefix.as_slice()).map(|name| String::from_utf8_lossy(name).into_owned())
            }));
            if names.len() > MAX_LISTED {
                return Err(EngineError::TooMany);
            }
            match page.cursor() {
                Some(next) => cursor = next.to_vec(),
                None => {
                    names.sort_unstable();
                    return Ok(names);
                }
            }
        }
    }

    fn sealer(&self) -> Sealer<'_> {
        Sealer { barrier: self.barrier, request: self.request, mount: self.mount.uuid }
    }

    async fn load(&self, path: &SecretPath) -> Result<Option<Stored>, EngineError> {
        let (keyspace, key) = (self.mount.keyspace(), metadata_key(path));
        let Some(record) = self.storage.get(self.request, Key::new(&keyspace, &key)).await? else {
            return Ok(None);
        };
        let opened = self.sealer().open_record(path, record.value()).await?;
        Ok(Some(Stored { opened, version: record.version() }))
    }

    async fn load_version(
        &self,
        path: &SecretPath,
        version: u64,
        metadata: &VersionMetadata,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let (keyspace, key) = (self.mount.keyspace(), version_key(path, version, metadata));
        let record = self.storage.get(self.request, Key::new(&keyspace, &key)).await?;
        Ok(record.map(|record| record.value().to_vec()))
    }

    async fn next_version(
        &self,
        path: &SecretPath,
        stored: Option<&Stored>,
        value: &[u8],
        mark: WriteId,
    ) -> Result<NextVersion, EngineError> {
        let before = stored.map(|stored| &stored.opened.metadata);
        let number = before.map_or(0, |metadata| metadata.current_version) + 1;
        let sealed = self.sealer().seal_value(path, number, value).await?;
        let metadata = Metadata::with_next(before, &clock::now(), mark, &sealed);
        let record = self.sealer().seal_record(path, &metadata, &sealed).await?;
        Ok(NextVersion { metadata, record })
    }

    /// Moves the current version aside and puts the new one in its place.
    async fn store(
        &self,
        path: &SecretPath,
        stored: Option<&Stored>,
        next: &NextVersion,
    ) -> Result<(), StorageError> {
        let (keyspace, metadata_key) = (self.mount.keyspace(), metadata_key(path));
        let condition = stored.map_or(Condition::Absent, |stored| Condition::Version(stored.version));
        let aside = stored.and_then(|stored| {
            let metadata = &stored.opened.metadata;
            let known = metadata.versions.get(&metadata.current_version)?;
            Some((version_key(path, metadata.current_version, known), &stored.opened.current))
        });
        let aside = aside.as_ref().map(|(key, sealed)| Op::put(Key::new(&keyspace, key), sealed));
        let point = Put::new(Key::new(&keyspace, &metadata_key), &next.record).when(condition);
        self.storage.commit(self.request, aside.as_slice(), point).await
    }

    async fn put_record(
        &self,
        path: &SecretPath,
        record: &[u8],
        condition: Condition,
    ) -> Result<(), StorageError> {
        let (keyspace, key) = (self.mount.keyspace(), metadata_key(path));
        let put = Put::new(Key::new(&keyspace, &key), record).when(condition);
        self.storage.put(self.request, put).await.map(|_| ())
    }
}

impl Stored {
    /// The version that a write made, if it made one.
    fn written_by(&self, mark: WriteId) -> Option<Found> {
        let mut versions = self.opened.metadata.versions.iter().rev();
        let (version, metadata) = versions.find(|(_, metadata)| metadata.was_written_by(mark))?;
        Some(Found { version: *version, metadata: metadata.clone() })
    }
}

/// A version on its way into the store.
struct NextVersion {
    metadata: Metadata,
    record: Vec<u8>,
}

impl NextVersion {
    fn number(&self) -> u64 {
        self.metadata.current_version
    }

    fn found(&self) -> Found {
        let number = self.number();
        let metadata = self.metadata.versions.get(&number).expect("a new version is in its metadata").clone();
        Found { version: number, metadata }
    }
}
