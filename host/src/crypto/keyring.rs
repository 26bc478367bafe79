//! The keyring: the numbered keys that seal records, and the key under which tokens are found.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    envelope::{self, OpenError, RecordId, RecordKind, SealError},
    key::{KEY_BYTES, RandomError, SecretKey},
};

const FORMAT: u8 = 1;

/// All keys of a cluster. New records are sealed with the newest; older keys open older records.
pub struct Keyring {
    cluster: Uuid,
    keys: BTreeMap<u32, SecretKey>,
    /// Rotation never changes it.
    token_key: SecretKey,
}

impl Keyring {
    /// A keyring with one key.
    ///
    /// # Errors
    ///
    /// When the operating system gives no random bytes.
    pub fn new(cluster: Uuid) -> Result<Self, RandomError> {
        Ok(Self {
            cluster,
            keys: BTreeMap::from([(1, SecretKey::random()?)]),
            token_key: SecretKey::random()?,
        })
    }

    /// The cluster whose keys these are.
    pub fn cluster(&self) -> Uuid {
        self.cluster
    }

    /// Seals a record with the newest key.
    ///
    /// # Errors
    ///
    /// See [`SealError`].
    pub fn seal(&self, record: &Record<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let (number, key) = self.keys.last_key_value().expect("a keyring has at least one key");
        envelope::seal(key, *number, &record.id(self.cluster), plaintext)
    }

    /// Opens a record with the key that it was sealed with.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(&self, record: &Record<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let number = envelope::key_number(sealed)?;
        let key = self.keys.get(&number).ok_or(OpenError::UnknownKey(number))?;
        envelope::open(key, &record.id(self.cluster), sealed)
    }

    /// The name under which a token is stored: its HMAC-SHA256.
    pub fn token_name(&self, token: &str) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.token_key.expose()).expect("HMAC takes keys of any length");
        mac.update(token.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The keyring under the root key.
    ///
    /// # Errors
    ///
    /// See [`SealError`].
    pub fn wrap(&self, root: &SecretKey) -> Result<Vec<u8>, SealError> {
        let mut plaintext =
            Zeroizing::new(Vec::with_capacity(1 + KEY_BYTES + self.keys.len() * (4 + KEY_BYTES)));
        plaintext.push(FORMAT);
        plaintext.extend_from_slice(self.token_key.expose());
        for (number, key) in &self.keys {
            plaintext.extend_from_slice(&number.to_be_bytes());
            plaintext.extend_from_slice(key.expose());
        }
        envelope::seal(root, 0, &wrapping(self.cluster, RecordKind::Keyring), &plaintext)
    }

    /// The keyring that was wrapped under the root key.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn unwrap(cluster: Uuid, root: &SecretKey, wrapped: &[u8]) -> Result<Self, OpenError> {
        let plaintext = envelope::open(root, &wrapping(cluster, RecordKind::Keyring), wrapped)?;
        Self::parse(cluster, &plaintext).ok_or(OpenError::Malformed)
    }

    fn parse(cluster: Uuid, plaintext: &[u8]) -> Option<Self> {
        let (format, rest) = plaintext.split_first()?;
        let (token_key, mut rest) = rest.split_at_checked(KEY_BYTES)?;
        let mut keys = BTreeMap::new();
        while !rest.is_empty() {
            let (number, tail) = rest.split_first_chunk::<4>()?;
            let (key, tail) = tail.split_at_checked(KEY_BYTES)?;
            keys.insert(u32::from_be_bytes(*number), SecretKey::from_bytes(key)?);
            rest = tail;
        }
        let usable = *format == FORMAT && !keys.is_empty();
        usable.then_some(Self { cluster, keys, token_key: SecretKey::from_bytes(token_key)? })
    }
}

/// Which record of a cluster is sealed or opened; as [`RecordId`], without the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The mount; nil for the system's own records.
    pub mount: Uuid,
    /// The kind.
    pub kind: RecordKind,
    /// The record's name.
    pub key: &'a [u8],
    /// The secret's own version number; zero where there is none.
    pub version: u64,
}

impl<'a> Record<'a> {
    /// A record of the system's own.
    pub fn system(kind: RecordKind, key: &'a [u8]) -> Self {
        Self { mount: Uuid::nil(), kind, key, version: 0 }
    }

    fn id(self, cluster: Uuid) -> RecordId<'a> {
        RecordId { cluster, mount: self.mount, kind: self.kind, key: self.key, version: self.version }
    }
}

/// The root key under the unseal key.
///
/// # Errors
///
/// See [`SealError`].
pub fn wrap_root(cluster: Uuid, unseal: &SecretKey, root: &SecretKey) -> Result<Vec<u8>, SealError> {
    envelope::seal(unseal, 0, &wrapping(cluster, RecordKind::RootKey), root.expose())
}

/// The root key that was wrapped under the unseal key.
///
/// # Errors
///
/// See [`OpenError`].
pub fn unwrap_root(cluster: Uuid, unseal: &SecretKey, wrapped: &[u8]) -> Result<SecretKey, OpenError> {
    let plaintext = envelope::open(unseal, &wrapping(cluster, RecordKind::RootKey), wrapped)?;
    SecretKey::from_bytes(&plaintext).ok_or(OpenError::Malformed)
}

fn wrapping(cluster: Uuid, kind: RecordKind) -> RecordId<'static> {
    RecordId { cluster, mount: Uuid::nil(), kind, key: b"", version: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyring_survives_wrapping_and_opens_only_under_its_root_key() {
        let cluster = Uuid::from_u128(5);
        let (root, other) = (SecretKey::random().unwrap(), SecretKey::random().unwrap());
        let keyring = Keyring::new(cluster).unwrap();
        let record = Record::system(RecordKind::Token, b"t");
        let sealed = keyring.seal(&record, b"secret").unwrap();
        let wrapped = keyring.wrap(&root).unwrap();
        let again = Keyring::unwrap(cluster, &root, &wrapped).unwrap();
        assert_eq!(again.open(&record, &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(again.token_name("kw.x"), keyring.token_name("kw.x"));
        assert!(Keyring::unwrap(cluster, &other, &wrapped).is_err());
        assert!(Keyring::unwrap(Uuid::from_u128(6), &root, &wrapped).is_err());
    }
}
