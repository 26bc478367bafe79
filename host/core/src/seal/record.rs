//! The seal record: what of the key hierarchy lies in the store, and how shares become keys again.
//!
//! Shamir shares rebuild the unseal key, which wraps the root key, which wraps the keyring. All of it stands
//! in one record of the system backend, which changes by conditional writes alone.

use data_encoding::{BASE64, HEXLOWER};
use keyway_common::clock;
use keyway_crypto::{
    envelope::{OpenError, SealError},
    key::SecretKey,
    keyring::{Keyring, unwrap_root, unwrap_root_by_password, wrap_root, wrap_root_by_password},
    password::Derivation,
    shares::{Share, ShareHash, combine},
};
use keyway_loader::{Condition, Key, Put, Version};
use keyway_storage::{SYSTEM_KEYSPACE, Storage, StorageError, Work, epoch};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

const SEAL_KEY: &[u8] = b"seal";
const FORMAT: u32 = 2;

/// The record in the store. None of its parts alone is secret. Format 1 had no checksum, and was always
/// confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealRecord {
    format: u32,
    /// The cluster.
    pub cluster_id: Uuid,
    created: String,
    /// How many shares were made.
    pub shares: u8,
    /// How many of them unseal.
    pub threshold: u8,
    share_hashes: Vec<String>,
    wrapped_root_key: String,
    wrapped_keyring: String,
    /// Another way to the root key. A rekeying takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<ByPassword>,
    /// Whether these shares have unsealed the server. Until then nothing depends on them, and an
    /// initialisation whose shares were lost can be repeated.
    #[serde(default = "confirmed_before_format_2")]
    confirmed: bool,
    /// Whether root tokens of former attempts at an initialisation may still be there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    untidied: bool,
    /// SHA-256 of the record without it. It distinguishes damage from a wrong share.
    #[serde(default)]
    checksum: String,
}

/// The root key under the key that comes out of a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByPassword {
    created: String,
    derivation: Derivation,
    wrapped_root_key: String,
}

/// The keys that the shares open.
pub struct Unlocked {
    /// The root key.
    pub root: SecretKey,
    /// The keyring that it unwrapped.
    pub keyring: Keyring,
}

/// Keys that are to take the place of others.
pub struct NextKeys {
    /// The shares of the unseal key.
    pub shares: Vec<Share>,
    /// How many of them unseal.
    pub threshold: u8,
    /// The unseal key.
    pub unseal: SecretKey,
    /// The root key.
    pub root: SecretKey,
}

fn confirmed_before_format_2() -> bool {
    true
}

/// Why the seal record cannot be used.
#[derive(Debug, Error)]
pub enum SealRecordError {
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It is there, but cannot be understood.
    #[error("the seal record in backend {backend:?} cannot be understood: {reason}")]
    Malformed {
        /// Which backend.
        backend: String,
        /// Why.
        reason: String,
    },
}

impl SealRecord {
    /// The record of a new cluster.
    ///
    /// # Errors
    ///
    /// `Random` if the system gives no random bytes.
    pub(super) fn new(
        shares: &[Share],
        threshold: u8,
        unseal: &SecretKey,
        root: &SecretKey,
        keyring: &Keyring,
    ) -> Result<Self, SealError> {
        let cluster = keyring.cluster();
        let record = Self {
            format: FORMAT,
            cluster_id: cluster,
            created: clock::now(),
            shares: u8::try_from(shares.len()).map_err(|_| SealError::TooLong)?,
            threshold,
            share_hashes: shares.iter().map(|share| BASE64.encode(share.hash(cluster).as_bytes())).collect(),
            wrapped_root_key: BASE64.encode(&wrap_root(cluster, unseal, root)?),
            wrapped_keyring: BASE64.encode(&keyring.wrap(root)?),
            password: None,
            confirmed: false,
            untidied: true,
            checksum: String::new(),
        };
        Ok(record.with_checksum())
    }

    /// The record of the cluster, or none if the store is not initialised.
    ///
    /// # Errors
    ///
    /// `Storage` if the store cannot be read; `Malformed` if the record cannot be understood.
    pub async fn load(storage: &Storage, work: &Work) -> Result<Option<Self>, SealRecordError> {
        Ok(Self::load_versioned(storage, work).await?.map(|(record, _)| record))
    }

    /// As [`load`](Self::load), with the version that a replacement is conditional on.
    ///
    /// # Errors
    ///
    /// `Storage` if the store cannot be read; `Malformed` if the record cannot be understood.
    pub async fn load_versioned(
        storage: &Storage,
        work: &Work,
    ) -> Result<Option<(Self, Version)>, SealRecordError> {
        let Some(record) = storage.get(work, seal_key()).await? else { return Ok(None) };
        let parsed = Self::parse(record.value())
            .map_err(|reason| SealRecordError::Malformed { backend: storage.name().to_owned(), reason })?;
        Ok(Some((parsed, record.version())))
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let parsed: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match parsed.format {
            1 => Ok(parsed),
            FORMAT if parsed.checksum == parsed.digest() => Ok(parsed),
            FORMAT => Err("it was changed: its checksum does not fit".to_owned()),
            later => Err(format!("its format is {later}, and this version knows {FORMAT}")),
        }
    }

    /// The bytes that are stored.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a seal record is plain data")
    }

    /// Puts this record in the place of the one with the given version; answers its own.
    ///
    /// # Errors
    ///
    /// The store's; a lost race if the record is no longer that version.
    pub async fn replace(
        &self,
        storage: &Storage,
        work: &Work,
        version: Version,
    ) -> Result<Version, StorageError> {
        let bytes = self.to_bytes();
        let put = Put::new(seal_key(), &bytes).when(Condition::Version(version));
        // Hosts keep the keyring that is in it.
        epoch::put(storage, work, put).await
    }

    /// Whether these shares have unsealed the server.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Whether the shares of both are the same ones.
    pub(crate) fn has_shares_of(&self, other: &Self) -> bool {
        self.share_hashes == other.share_hashes
    }

    /// Whether these are its shares.
    pub(crate) fn has_shares(&self, shares: &[Share]) -> bool {
        shares.len() == usize::from(self.shares) && shares.iter().all(|share| self.knows(share))
    }

    /// The record with other keys around a keyring.
    ///
    /// # Errors
    ///
    /// When they cannot be sealed.
    pub(crate) fn with_keys(&self, next: &NextKeys, keyring: &Keyring) -> Result<Self, SealError> {
        let made = Self::new(&next.shares, next.threshold, &next.unseal, &next.root, keyring)?;
        let kept = Self {
            created: self.created.clone(),
            confirmed: self.confirmed,
            untidied: self.untidied,
            ..made
        };
        Ok(kept.with_checksum())
    }

    /// The record after its first unsealing.
    pub fn confirmed(&self) -> Self {
        Self { confirmed: true, ..self.clone() }.with_checksum()
    }

    /// Whether root tokens of former attempts at an initialisation are gone.
    pub(crate) fn is_tidied(&self) -> bool {
        !self.untidied
    }

    /// The record after they are gone.
    pub fn tidied(&self) -> Self {
        Self { untidied: false, ..self.clone() }.with_checksum()
    }

    /// The record with another keyring under the same root key.
    ///
    /// # Errors
    ///
    /// When it cannot be sealed.
    pub(crate) fn with_keyring(&self, root: &SecretKey, keyring: &Keyring) -> Result<Self, SealError> {
        let wrapped_keyring = BASE64.encode(&keyring.wrap(root)?);
        Ok(Self { wrapped_keyring, ..self.clone() }.with_checksum())
    }

    fn with_checksum(mut self) -> Self {
        self.format = FORMAT;
        self.checksum = self.digest();
        self
    }

    fn digest(&self) -> String {
        let blank = Self { checksum: String::new(), ..self.clone() };
        HEXLOWER.encode(&Sha256::digest(blank.to_bytes()))
    }

    /// Whether a share is one of this cluster's, by its hash.
    pub fn knows(&self, share: &Share) -> bool {
        let hash = share.hash(self.cluster_id);
        let hashes = self.share_hashes.iter().filter_map(|text| BASE64.decode(text.as_bytes()).ok());
        hashes.filter_map(|bytes| ShareHash::from_bytes(&bytes)).any(|known| known.matches(&hash))
    }

    /// The keys, out of as many shares as are needed; none if they do not fit the record.
    pub fn unlock(&self, shares: &[Share]) -> Option<Unlocked> {
        let unseal = combine(shares, self.threshold)?;
        let wrapped = BASE64.decode(self.wrapped_root_key.as_bytes()).ok()?;
        let root = unwrap_root(self.cluster_id, &unseal, &wrapped).ok()?;
        let keyring = self.keyring(&root).ok()?;
        Some(Unlocked { root, keyring })
    }

    /// The record with another way to the root key, by a key that comes out of a password; or with none.
    ///
    /// # Errors
    ///
    /// When it cannot be sealed.
    pub(crate) fn with_password(
        &self,
        root: &SecretKey,
        password: Option<&(Derivation, SecretKey)>,
    ) -> Result<Self, SealError> {
        let by = |(derivation, key): &(Derivation, SecretKey)| {
            let wrapped = wrap_root_by_password(self.cluster_id, key, root)?;
            Ok::<_, SealError>(ByPassword {
                created: clock::now(),
                derivation: derivation.clone(),
                wrapped_root_key: BASE64.encode(&wrapped),
            })
        };
        Ok(Self { password: password.map(by).transpose()?, ..self.clone() }.with_checksum())
    }

    /// How the password's key comes out of it, and since when there is one; none if there is no password.
    pub fn password(&self) -> Option<(&Derivation, &str)> {
        self.password.as_ref().map(|by| (&by.derivation, by.created.as_str()))
    }

    /// The keys, out of a password's key; none if it is another's.
    pub(crate) fn unlock_by_password(&self, key: &SecretKey) -> Option<Unlocked> {
        let wrapped = BASE64.decode(self.password.as_ref()?.wrapped_root_key.as_bytes()).ok()?;
        let root = unwrap_root_by_password(self.cluster_id, key, &wrapped).ok()?;
        let keyring = self.keyring(&root).ok()?;
        Some(Unlocked { root, keyring })
    }

    /// The keyring under the root key.
    ///
    /// # Errors
    ///
    /// If it is not this root key's, or was changed.
    pub fn keyring(&self, root: &SecretKey) -> Result<Keyring, OpenError> {
        let wrapped = BASE64.decode(self.wrapped_keyring.as_bytes()).map_err(|_| OpenError::Malformed)?;
        Keyring::unwrap(self.cluster_id, root, &wrapped)
    }
}

/// The place of the seal record.
pub(super) fn seal_key() -> Key<'static> {
    Key::new(SYSTEM_KEYSPACE, SEAL_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyway_crypto::shares::split;

    fn record() -> (SealRecord, Vec<Share>) {
        let (unseal, root) = (SecretKey::random().unwrap(), SecretKey::random().unwrap());
        let shares = split(&unseal, 3, 2);
        let keyring = Keyring::new(Uuid::from_u128(1), 0).unwrap();
        (SealRecord::new(&shares, 2, &unseal, &root, &keyring).unwrap(), shares)
    }

    #[test]
    fn every_changed_byte_is_noticed_before_a_share_is_judged() {
        let (record, shares) = record();
        let bytes = record.to_bytes();
        let parsed = SealRecord::parse(&bytes).unwrap();
        assert!(parsed.knows(&shares[0]) && parsed.unlock(&shares[..2]).is_some());
        for index in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[index] ^= 1;
            assert!(SealRecord::parse(&altered).is_err(), "byte {index}");
        }
    }

    #[test]
    fn record_of_format_1_is_read_as_confirmed() {
        let (record, shares) = record();
        let mut value: serde_json::Value = serde_json::from_slice(&record.to_bytes()).unwrap();
        let fields = value.as_object_mut().unwrap();
        fields.insert("format".to_owned(), 1.into());
        fields.retain(|name, _| name != "checksum" && name != "confirmed");
        let old = SealRecord::parse(&serde_json::to_vec(&value).unwrap()).unwrap();
        assert!(old.is_confirmed() && old.unlock(&shares[1..]).is_some());
        assert!(!record.is_confirmed() && record.confirmed().is_confirmed());
    }
}
