//! The keyring: the numbered keys that seal records, and the key under which tokens are found.
//!
//! Its plaintext, which [`Keyring::wrap`] seals under the root key:
//!
//! ```text
//! byte 0       format, 2
//! bytes 1-32   the key under which tokens are found
//! then, for each key: its number as four bytes, when it was made in Unix seconds as eight, both big-endian, the key
//! ```
//!
//! Format 1 has no times; its keys are read as made at the epoch.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    envelope::{self, OpenError, RecordId, RecordKind, SealError},
    key::{KEY_BYTES, RandomError, SecretKey},
};

const FORMAT: u8 = 2;

/// All keys of a cluster. New records are sealed with the newest; older keys open older records.
pub struct Keyring {
    cluster: Uuid,
    keys: BTreeMap<u32, NumberedKey>,
    /// Rotation never changes it.
    token_key: SecretKey,
}

struct NumberedKey {
    /// In Unix seconds.
    made: u64,
    key: SecretKey,
}

/// Why there is no further key.
#[derive(Debug, Error)]
pub enum RotateError {
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// After 2^32 - 1 keys.
    #[error("the keyring has no number left for another key")]
    NoNumberLeft,
}

impl Keyring {
    /// A keyring with one key, made at `now` in Unix seconds.
    ///
    /// # Errors
    ///
    /// When the operating system gives no random bytes.
    pub fn new(cluster: Uuid, now: u64) -> Result<Self, RandomError> {
        let first = NumberedKey { made: now, key: SecretKey::random()? };
        Ok(Self { cluster, keys: BTreeMap::from([(1, first)]), token_key: SecretKey::random()? })
    }

    /// Adds a key, made at `now` in Unix seconds, with which new records are sealed; answers its number.
    ///
    /// # Errors
    ///
    /// `Random` if the system gives no random bytes; `NoNumberLeft` after 2^32 - 1 keys.
    pub fn rotate(&mut self, now: u64) -> Result<u32, RotateError> {
        let number = self.newest().checked_add(1).ok_or(RotateError::NoNumberLeft)?;
        self.keys.insert(number, NumberedKey { made: now, key: SecretKey::random()? });
        Ok(number)
    }

    /// Number of the key that seals new records.
    pub fn newest(&self) -> u32 {
        self.last().0
    }

    /// Creation time of the key that seals new records, in Unix seconds.
    pub fn newest_made(&self) -> u64 {
        self.last().1.made
    }

    /// The cluster whose keys these are.
    pub fn cluster(&self) -> Uuid {
        self.cluster
    }

    /// Seals a record with the newest key.
    ///
    /// # Errors
    ///
    /// `Random` if the system gives no random bytes; `TooLong` for a plaintext beyond the envelope's bound.
    pub fn seal(&self, record: &Record<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let (number, newest) = self.last();
        envelope::seal(&newest.key, number, &record.id(self.cluster), plaintext)
    }

    /// Opens a record with the key that it was sealed with.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are not an envelope; `UnknownKey` if the keyring lacks the key;
    /// `NotAuthentic` if the envelope is changed or another record's.
    pub fn open(&self, record: &Record<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let number = envelope::key_number(sealed)?;
        let numbered = self.keys.get(&number).ok_or(OpenError::UnknownKey(number))?;
        envelope::open(&numbered.key, &record.id(self.cluster), sealed)
    }

    /// The name under which a token is stored: its HMAC-SHA256.
    pub fn token_name(&self, token: &str) -> [u8; 32] {
        self.mac(&[token])
    }

    /// As [`token_name`](Self::token_name), for what else is found by a text that the store must not know. No
    /// token holds the zero byte that stands before the domain.
    pub fn name(&self, domain: &str, text: &str) -> [u8; 32] {
        self.mac(&["\0", domain, "\0", text])
    }

    fn mac(&self, parts: &[&str]) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.token_key.expose()).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    /// The keyring under the root key.
    ///
    /// # Errors
    ///
    /// `Random` if the system gives no random bytes; `TooLong` if the keyring has too many keys for an
    /// envelope.
    pub fn wrap(&self, root: &SecretKey) -> Result<Vec<u8>, SealError> {
        let mut plaintext =
            Zeroizing::new(Vec::with_capacity(1 + KEY_BYTES + self.keys.len() * (4 + 8 + KEY_BYTES)));
        plaintext.push(FORMAT);
        plaintext.extend_from_slice(self.token_key.expose());
        for (number, numbered) in &self.keys {
            plaintext.extend_from_slice(&number.to_be_bytes());
            plaintext.extend_from_slice(&numbered.made.to_be_bytes());
            plaintext.extend_from_slice(numbered.key.expose());
        }
        envelope::seal(root, 0, &wrapping(self.cluster, RecordKind::Keyring), &plaintext)
    }

    /// The keyring that was wrapped under the root key.
    ///
    /// # Errors
    ///
    /// `Malformed` for bytes that are not a wrapped keyring; `NotAuthentic` if the root key or the cluster is
    /// another.
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
            let (made, tail) = match *format {
                1 => (0, tail),
                FORMAT => {
                    tail.split_first_chunk::<8>().map(|(made, tail)| (u64::from_be_bytes(*made), tail))?
                }
                _ => return None,
            };
            let (key, tail) = tail.split_at_checked(KEY_BYTES)?;
            let key = SecretKey::from_bytes(key)?;
            keys.insert(u32::from_be_bytes(*number), NumberedKey { made, key });
            rest = tail;
        }
        (!keys.is_empty()).then_some(Self { cluster, keys, token_key: SecretKey::from_bytes(token_key)? })
    }

    fn last(&self) -> (u32, &NumberedKey) {
        let (number, newest) = self.keys.last_key_value().expect("a keyring has at least one key");
        (*number, newest)
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
    /// The secret's own version number; zero if there is none.
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
/// `Random` if the system gives no random bytes.
pub fn wrap_root(cluster: Uuid, unseal: &SecretKey, root: &SecretKey) -> Result<Vec<u8>, SealError> {
    envelope::seal(unseal, 0, &wrapping(cluster, RecordKind::RootKey), root.expose())
}

/// The root key that was wrapped under the unseal key.
///
/// # Errors
///
/// `Malformed` for bytes that are not an envelope; `NotAuthentic` if the unseal key or the cluster is
/// another.
pub fn unwrap_root(cluster: Uuid, unseal: &SecretKey, wrapped: &[u8]) -> Result<SecretKey, OpenError> {
    let plaintext = envelope::open(unseal, &wrapping(cluster, RecordKind::RootKey), wrapped)?;
    SecretKey::from_bytes(&plaintext).ok_or(OpenError::Malformed)
}

/// The root key under a password's key.
///
/// # Errors
///
/// `Random` if the system gives no random bytes.
pub fn wrap_root_by_password(cluster: Uuid, key: &SecretKey, root: &SecretKey) -> Result<Vec<u8>, SealError> {
    envelope::seal(key, 0, &wrapping(cluster, RecordKind::RootKeyByPassword), root.expose())
}

/// The root key that was wrapped under a password's key.
///
/// # Errors
///
/// `Malformed` for bytes that are not an envelope; `NotAuthentic` if the password's key or the cluster is
/// another.
pub fn unwrap_root_by_password(
    cluster: Uuid,
    key: &SecretKey,
    wrapped: &[u8],
) -> Result<SecretKey, OpenError> {
    let plaintext = envelope::open(key, &wrapping(cluster, RecordKind::RootKeyByPassword), wrapped)?;
    SecretKey::from_bytes(&plaintext).ok_or(OpenError::Malformed)
}

/// A record of the system's own under the root key: what must be readable before the keyring, or count its uses.
///
/// # Errors
///
/// `Random` if the system gives no random bytes; `TooLong` for a plaintext beyond the envelope's bound.
pub fn seal_under_root(
    cluster: Uuid,
    root: &SecretKey,
    record: &Record<'_>,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    envelope::seal(root, 0, &record.id(cluster), plaintext)
}

/// What was sealed under the root key.
///
/// # Errors
///
/// `Malformed` for bytes that are not an envelope; `NotAuthentic` if the root key or the record is another.
pub fn open_under_root(
    cluster: Uuid,
    root: &SecretKey,
    record: &Record<'_>,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    envelope::open(root, &record.id(cluster), sealed)
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
        let keyring = Keyring::new(cluster, 7).unwrap();
        let record = Record::system(RecordKind::Token, b"t");
        let sealed = keyring.seal(&record, b"secret").unwrap();
        let wrapped = keyring.wrap(&root).unwrap();
        let again = Keyring::unwrap(cluster, &root, &wrapped).unwrap();
        assert_eq!(again.open(&record, &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(again.token_name("kw.x"), keyring.token_name("kw.x"));
        assert!(Keyring::unwrap(cluster, &other, &wrapped).is_err());
        assert!(Keyring::unwrap(Uuid::from_u128(6), &root, &wrapped).is_err());
    }

    #[test]
    fn rotated_keyring_seals_with_the_new_key_and_opens_with_both() {
        let (cluster, root) = (Uuid::from_u128(5), SecretKey::random().unwrap());
        let mut keyring = Keyring::new(cluster, 7).unwrap();
        let record = Record::system(RecordKind::Token, b"t");
        let old = keyring.seal(&record, b"old").unwrap();
        assert_eq!(keyring.rotate(9).unwrap(), 2);
        let new = keyring.seal(&record, b"new").unwrap();
        assert_eq!((envelope::key_number(&old), envelope::key_number(&new)), (Ok(1), Ok(2)));
        let again = Keyring::unwrap(cluster, &root, &keyring.wrap(&root).unwrap()).unwrap();
        assert_eq!((again.newest(), again.newest_made()), (2, 9));
        assert_eq!(again.open(&record, &old).unwrap().as_slice(), b"old");
        assert_eq!(again.open(&record, &new).unwrap().as_slice(), b"new");
    }

    #[test]
    fn keyring_of_format_1_is_read_and_damaged_ones_are_not() {
        let mut plaintext = vec![1];
        plaintext.extend([9; 32]);
        plaintext.extend([0, 0, 0, 3]);
        plaintext.extend([8; 32]);
        let keyring = Keyring::parse(Uuid::nil(), &plaintext).unwrap();
        assert_eq!((keyring.newest(), keyring.newest_made()), (3, 0));
        assert!(Keyring::parse(Uuid::nil(), &plaintext[..33]).is_none(), "no key");
        assert!(Keyring::parse(Uuid::nil(), &plaintext[..40]).is_none(), "half a key");
        plaintext[0] = 3;
        assert!(Keyring::parse(Uuid::nil(), &plaintext).is_none(), "a later format");
    }
}
