//! How a secret lies in the store. The keys and bytes of its records are known here and nowhere else.
//!
//! - `m/<path>`: one format byte, the length of the sealed metadata as four bytes, big-endian, the sealed
//!   metadata, the sealed value of the current version. One read brings both.
//! - `v/<path>`, a zero byte, the version as eight bytes, big-endian, the first eight bytes of the envelope's
//!   tag: the sealed value of an older version. A newer version moves it here as it was. Paths hold no zero
//!   byte, so no two secrets share a prefix. Only this sealing has this tag, so a late or losing writer
//!   overwrites no other writer's record, even if the secret was removed and made again.
//! - `g/<path>`, a zero byte, eight random bytes: the intent of a change that takes several steps. It holds
//!   the Unix seconds at which the change began, as eight bytes, big-endian. It is not sealed: it says no
//!   more than its key.
//!
//! A current version that was destroyed has no value in the `m/` record.

use keyway_crypto::{
    envelope::{OpenError, RecordKind, SealError, key_number},
    keyring::Record,
};
use keyway_storage::Work;
use thiserror::Error;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    metadata::{Metadata, VersionMetadata},
    path::{FolderPath, SecretPath},
};
use crate::barrier::{Barrier, BarrierError};

const FORMAT: u8 = 1;
const TAG_IN_KEY_BYTES: usize = 8;

/// The prefix of all metadata records.
pub(crate) const METADATA_PREFIX: &str = "m/";
/// The prefix of all intents.
pub(crate) const INTENT_PREFIX: &[u8] = b"g/";

/// A record that cannot be opened. Names the secret, because an operator has to find it.
#[derive(Debug, Error)]
pub enum RecordError {
    /// It is there, and not what was written.
    #[error("the record of secret {path:?} (mount {mount}) cannot be opened: {reason}")]
    Unopenable {
        /// The secret.
        path: String,
        /// The mount.
        mount: Uuid,
        /// Why.
        reason: OpenError,
    },
    /// The keys could not be read, or their use not be counted.
    #[error("secret {path:?} (mount {mount}): {source}")]
    Barrier {
        /// The secret.
        path: String,
        /// The mount.
        mount: Uuid,
        /// Why.
        source: BarrierError,
    },
    /// The metadata knows the version, and the store does not have it.
    #[error("the record of version {version} of secret {path:?} (mount {mount}) is missing from the store")]
    Missing {
        /// The secret.
        path: String,
        /// The mount.
        mount: Uuid,
        /// The version.
        version: u64,
    },
}

/// The key of a secret's metadata record.
pub(crate) fn metadata_key(path: &SecretPath) -> Vec<u8> {
    format!("{METADATA_PREFIX}{}", path.as_str()).into_bytes()
}

/// The prefix of the metadata records in a folder.
pub(crate) fn folder_prefix(folder: &FolderPath) -> Vec<u8> {
    format!("{METADATA_PREFIX}{}", folder.as_str()).into_bytes()
}

/// What the keys of a secret's older versions begin with, and no other secret's.
pub(crate) fn version_prefix(path: &SecretPath) -> Vec<u8> {
    format!("v/{}\0", path.as_str()).into_bytes()
}

/// The key of the intent of one change.
pub(crate) fn intent_key(path: &SecretPath, change: [u8; 8]) -> Vec<u8> {
    [INTENT_PREFIX, path.as_str().as_bytes(), &[0], &change].concat()
}

/// The secret whose change an intent is of; none if the key is not an intent's.
pub(crate) fn path_of_intent(key: &[u8]) -> Option<SecretPath> {
    let rest = key.strip_prefix(INTENT_PREFIX)?;
    let (path, [0, ..]) = rest.split_last_chunk::<9>()? else { return None };
    SecretPath::parse(std::str::from_utf8(path).ok()?).ok()
}

/// The key of the record of one older version.
pub(crate) fn version_key(path: &SecretPath, version: u64, metadata: &VersionMetadata) -> Vec<u8> {
    let mut key = version_prefix(path);
    key.extend_from_slice(&version.to_be_bytes());
    key.extend(metadata.tag().into_iter().take(TAG_IN_KEY_BYTES));
    key
}

/// The keys of the records that one version may have: its own, and that of the envelope which is to take its
/// place.
pub(crate) fn version_keys(
    path: &SecretPath,
    version: u64,
    metadata: &VersionMetadata,
) -> impl Iterator<Item = Vec<u8>> {
    let next = metadata.next().map(|next| version_key(path, version, &next));
    [version_key(path, version, metadata)].into_iter().chain(next)
}

/// Seals and opens the records of one mount.
pub struct Sealer<'a> {
    /// The keys.
    pub barrier: &'a Barrier,
    /// The work that the call belongs to.
    pub work: &'a Work,
    /// The mount.
    pub mount: Uuid,
}

/// A metadata record, opened: its metadata, and the current version's value as it is sealed.
pub struct OpenedRecord {
    /// The metadata of the secret.
    pub metadata: Metadata,
    /// The sealed value of the current version.
    pub current: Vec<u8>,
    /// The number of the key that the metadata is sealed with.
    pub key: u32,
}

impl Sealer<'_> {
    /// The sealed value of one version.
    ///
    /// # Errors
    ///
    /// As [`Barrier::seal`].
    pub(crate) async fn seal_value(
        &self,
        path: &SecretPath,
        version: u64,
        value: &[u8],
    ) -> Result<Vec<u8>, BarrierError> {
        self.barrier.seal(self.work, &self.value_record(path, version), value).await
    }

    /// The value of one version, if `sealed` is the envelope that the metadata knows.
    ///
    /// # Errors
    ///
    /// `Unopenable` if the envelope is changed, or is not the one that the metadata name; `Barrier` if a key
    /// cannot be read.
    pub(crate) async fn open_value(
        &self,
        path: &SecretPath,
        version: u64,
        metadata: &VersionMetadata,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RecordError> {
        let opened = self.barrier.open(self.work, &self.value_record(path, version), sealed).await;
        match opened {
            Ok(_) if !metadata.is_sealed_as(sealed) => {
                Err(self.error(path, BarrierError::Open(OpenError::NotAuthentic)))
            }
            Ok(value) => Ok(value),
            Err(source) => Err(self.error(path, source)),
        }
    }

    /// A metadata record.
    ///
    /// # Errors
    ///
    /// As [`Barrier::seal`].
    pub(crate) async fn seal_record(
        &self,
        path: &SecretPath,
        metadata: &Metadata,
        current: &[u8],
    ) -> Result<Vec<u8>, BarrierError> {
        let text = serde_json::to_vec(metadata).expect("metadata is plain data");
        let key = metadata_key(path);
        let sealed = self.barrier.seal(self.work, &self.metadata_record(&key), &text).await?;
        let length = u32::try_from(sealed.len()).map_err(|_| SealError::TooLong)?;
        let mut record = Vec::with_capacity(5 + sealed.len() + current.len());
        record.push(FORMAT);
        record.extend_from_slice(&length.to_be_bytes());
        record.extend_from_slice(&sealed);
        record.extend_from_slice(current);
        Ok(record)
    }

    /// The contents of a metadata record.
    ///
    /// # Errors
    ///
    /// `Unopenable` if the record does not open or cannot be understood; `Barrier` if a key cannot be read.
    pub(crate) async fn open_record(
        &self,
        path: &SecretPath,
        record: &[u8],
    ) -> Result<OpenedRecord, RecordError> {
        let open = async || {
            let (sealed, current) = split(record).ok_or(OpenError::Malformed)?;
            let key = metadata_key(path);
            let text = self.barrier.open(self.work, &self.metadata_record(&key), sealed).await?;
            let metadata = serde_json::from_slice(&text).map_err(|_| OpenError::Malformed)?;
            Ok(OpenedRecord { metadata, current: current.to_vec(), key: key_number(sealed)? })
        };
        open().await.map_err(|source| self.error(path, source))
    }

    /// A record of an older version is missing though the metadata knows it.
    pub fn missing(&self, path: &SecretPath, version: u64) -> RecordError {
        RecordError::Missing { path: path.as_str().to_owned(), mount: self.mount, version }
    }

    fn value_record<'k>(&self, path: &'k SecretPath, version: u64) -> Record<'k> {
        Record { mount: self.mount, kind: RecordKind::Value, key: path.as_str().as_bytes(), version }
    }

    fn metadata_record<'k>(&self, key: &'k [u8]) -> Record<'k> {
        Record { mount: self.mount, kind: RecordKind::Metadata, key, version: 0 }
    }

    pub(super) fn error(&self, path: &SecretPath, source: BarrierError) -> RecordError {
        let (path, mount) = (path.as_str().to_owned(), self.mount);
        match source {
            BarrierError::Open(reason) => RecordError::Unopenable { path, mount, reason },
            source => RecordError::Barrier { path, mount, source },
        }
    }
}

fn split(record: &[u8]) -> Option<(&[u8], &[u8])> {
    let (format, rest) = record.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    if *format != FORMAT {
        return None;
    }
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}
