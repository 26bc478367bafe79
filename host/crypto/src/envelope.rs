//! The envelope: AES-256-GCM around every value that leaves the process. Its layout, with test vectors, is
//! specified in `docs/envelope.md`; the bytes are known here and nowhere else.
//!
//! ```text
//! byte 0       format, 1
//! bytes 1-4    number of the key, big-endian
//! bytes 5-16   nonce, 96 random bits
//! then         ciphertext, as long as the plaintext
//! last 16      authentication tag
//! ```
//!
//! The tag also authenticates these fields, each after its length as eight bytes, big-endian: format, cluster
//! UUID, mount UUID, record kind, key of the record, the secret's own version number, number of the key. So a
//! record does not open if it was moved, relabelled or brought from another cluster. Nonces are random (NIST
//! SP 800-38D, 8.2.2), which limits a key to 2^32 seals.

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use thiserror::Error;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::key::{RandomError, SecretKey, random_bytes};

const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 12;
const HEADER_BYTES: usize = 1 + 4 + NONCE_BYTES;
/// The length of the authentication tag.
pub const TAG_BYTES: usize = 16;

/// What kind of record an envelope belongs to. The numbers are part of the authenticated data and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// The root key under the unseal key.
    RootKey = 1,
    /// The keyring under the root key.
    Keyring = 2,
    /// The table of mounts.
    Mounts = 3,
    /// A token.
    Token = 4,
    /// The metadata of a secret.
    Metadata = 5,
    /// One version of a secret.
    Value = 6,
    /// How often a key may have been used.
    KeyUse = 7,
    /// A policy.
    Policy = 8,
    /// What finds a token by its accessor.
    Accessor = 9,
    /// A role that tokens are made by.
    TokenRole = 10,
    /// A role of AppRole.
    AppRole = 11,
    /// What finds a role of AppRole by its role id.
    RoleId = 12,
    /// A secret id of AppRole.
    SecretId = 13,
    /// What finds a secret id by its accessor.
    SecretIdAccessor = 14,
    /// What a token keeps for itself.
    Cubbyhole = 15,
    /// A secret without versions.
    Plain = 16,
    /// The audit devices that were added.
    AuditDevices = 17,
    /// The root key under a password's key.
    RootKeyByPassword = 18,
    /// How far a re-encryption is.
    Reencryption = 19,
}

impl RecordKind {
    /// The kinds of the system's own records that are sealed with a key of the keyring.
    pub const SYSTEM: [Self; 12] = [
        Self::Token,
        Self::Accessor,
        Self::SecretId,
        Self::SecretIdAccessor,
        Self::Cubbyhole,
        Self::Policy,
        Self::TokenRole,
        Self::AppRole,
        Self::RoleId,
        Self::Mounts,
        Self::AuditDevices,
        Self::Reencryption,
    ];
}

/// Which record it is: what the ciphertext is bound to.
#[derive(Debug, Clone, Copy)]
pub struct RecordId<'a> {
    /// The cluster.
    pub cluster: Uuid,
    /// The mount; nil for the system's own records.
    pub mount: Uuid,
    /// The kind.
    pub kind: RecordKind,
    /// The record's name.
    pub key: &'a [u8],
    /// The secret's own version number; zero if there is none.
    pub version: u64,
}

/// Why an envelope does not open.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// Too short, or of a format that is not known.
    #[error("it is no envelope of a known format")]
    Malformed,
    /// Sealed with a key that is not in the keyring.
    #[error("it is sealed with key {0}, which is not in the keyring")]
    UnknownKey(u32),
    /// Changed, moved, relabelled, or of another cluster.
    #[error("it was changed, or belongs to another record or cluster")]
    NotAuthentic,
}

/// Why something could not be sealed.
#[derive(Debug, Error)]
pub enum SealError {
    /// No nonce.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Beyond what AES-GCM can seal at once (64 GiB).
    #[error("the value is too long to be sealed")]
    TooLong,
}

/// Seals `plaintext` as the record `id` with the key `number`.
///
/// # Errors
///
/// `Random` if the system gives no random bytes; `TooLong` for a plaintext beyond the envelope's bound.
pub fn seal(key: &SecretKey, number: u32, id: &RecordId<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    seal_with(key, number, random_bytes()?, id, plaintext)
}

fn seal_with(
    key: &SecretKey,
    number: u32,
    nonce: [u8; NONCE_BYTES],
    id: &RecordId<'_>,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let aad = authenticated(id, number);
    let sealed = cipher(key)
        .encrypt(&Nonce::from(nonce), Payload { msg: plaintext, aad: &aad })
        .map_err(|_| SealError::TooLong)?;
    let mut envelope = Vec::with_capacity(HEADER_BYTES + sealed.len());
    envelope.push(FORMAT);
    envelope.extend_from_slice(&number.to_be_bytes());
    envelope.extend_from_slice(&nonce);
    envelope.extend_from_slice(&sealed);
    Ok(envelope)
}

/// The number of the key that an envelope was sealed with.
///
/// # Errors
///
/// `Malformed` if it is no envelope of a known format.
pub fn key_number(envelope: &[u8]) -> Result<u32, OpenError> {
    parse(envelope).map(|parts| parts.number)
}

/// The plaintext of the record `id`.
///
/// # Errors
///
/// `Malformed` for bytes that are not an envelope; `NotAuthentic` if the key is another, the record is
/// another, or a byte is changed.
pub fn open(key: &SecretKey, id: &RecordId<'_>, envelope: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let Parts { number, nonce, sealed } = parse(envelope)?;
    let aad = authenticated(id, number);
    cipher(key)
        .decrypt(&Nonce::from(nonce), Payload { msg: sealed, aad: &aad })
        .map(Zeroizing::new)
        .map_err(|_| OpenError::NotAuthentic)
}

/// The authentication tag, which names this sealing of this plaintext and no other.
pub fn tag(envelope: &[u8]) -> Option<[u8; TAG_BYTES]> {
    envelope.last_chunk().copied()
}

struct Parts<'a> {
    number: u32,
    nonce: [u8; NONCE_BYTES],
    sealed: &'a [u8],
}

fn parse(envelope: &[u8]) -> Result<Parts<'_>, OpenError> {
    let (format, rest) = envelope.split_first().ok_or(OpenError::Malformed)?;
    let (number, rest) = rest.split_first_chunk::<4>().ok_or(OpenError::Malformed)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::Malformed)?;
    if *format != FORMAT || sealed.len() < TAG_BYTES {
        return Err(OpenError::Malformed);
    }
    Ok(Parts { number: u32::from_be_bytes(*number), nonce: *nonce, sealed })
}

fn cipher(key: &SecretKey) -> Aes256Gcm {
    Aes256Gcm::new(key.expose().into())
}

fn authenticated(id: &RecordId<'_>, number: u32) -> Vec<u8> {
    let fields: [&[u8]; 7] = [
        &[FORMAT],
        id.cluster.as_bytes(),
        id.mount.as_bytes(),
        &[id.kind as u8],
        id.key,
        &id.version.to_be_bytes(),
        &number.to_be_bytes(),
    ];
    let mut aad = Vec::with_capacity(fields.iter().map(|field| field.len() + 8).sum());
    for field in fields {
        aad.extend_from_slice(&(field.len() as u64).to_be_bytes());
        aad.extend_from_slice(field);
    }
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RecordId<'_> = RecordId {
        cluster: Uuid::from_u128(1),
        mount: Uuid::from_u128(2),
        kind: RecordKind::Value,
        key: b"app/db",
        version: 3,
    };

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes(&[byte; 32]).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_and_is_not_in_the_envelope() {
        let envelope = seal(&key(1), 7, &ID, b"correct horse").unwrap();
        assert_eq!(open(&key(1), &ID, &envelope).unwrap().as_slice(), b"correct horse");
        assert_eq!(key_number(&envelope), Ok(7));
        assert_eq!(envelope.len(), HEADER_BYTES + 13 + TAG_BYTES);
        assert!(!envelope.windows(7).any(|window| window == b"correct"));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let envelope = seal(&key(1), 7, &ID, b"v").unwrap();
        for bit in 0..envelope.len() * 8 {
            let mut altered = envelope.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key(1), &ID, &altered).is_err(), "bit {bit}");
        }
        for length in 0..envelope.len() {
            assert!(open(&key(1), &ID, &envelope[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn every_field_of_the_identity_is_bound() {
        let envelope = seal(&key(1), 7, &ID, b"v").unwrap();
        let others = [
            RecordId { cluster: Uuid::from_u128(9), ..ID },
            RecordId { mount: Uuid::from_u128(9), ..ID },
            RecordId { kind: RecordKind::Metadata, ..ID },
            RecordId { key: b"app/dc", ..ID },
            RecordId { version: 4, ..ID },
        ];
        for other in others {
            assert_eq!(open(&key(1), &other, &envelope), Err(OpenError::NotAuthentic), "{other:?}");
        }
        assert_eq!(open(&key(2), &ID, &envelope), Err(OpenError::NotAuthentic));
    }

    #[derive(serde::Deserialize)]
    struct Vector {
        key: String,
        number: u32,
        nonce: String,
        cluster: String,
        mount: String,
        kind: u8,
        name: String,
        version: u64,
        plaintext: String,
        authenticated: String,
        envelope: String,
    }

    #[test]
    fn vectors_of_the_specification_hold() {
        let document = include_str!("../../../docs/envelope.md");
        let json = document.rsplit_once("```json").unwrap().1.split("```").next().unwrap();
        let vectors: Vec<Vector> = serde_json::from_str(json).unwrap();
        assert_eq!(vectors.len(), 3);
        let bytes = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        for vector in vectors {
            let kind = match vector.kind {
                1 => RecordKind::RootKey,
                6 => RecordKind::Value,
                7 => RecordKind::KeyUse,
                other => unreachable!("kind {other}"),
            };
            let uuid = |text: &str| Uuid::from_slice(&bytes(text)).unwrap();
            let name = bytes(&vector.name);
            let (cluster, mount) = (uuid(&vector.cluster), uuid(&vector.mount));
            let id = RecordId { cluster, mount, kind, key: &name, version: vector.version };
            let key = SecretKey::from_bytes(&bytes(&vector.key)).unwrap();
            let nonce = bytes(&vector.nonce).try_into().unwrap();
            let plaintext = bytes(&vector.plaintext);
            assert_eq!(authenticated(&id, vector.number), bytes(&vector.authenticated));
            let envelope = seal_with(&key, vector.number, nonce, &id, &plaintext).unwrap();
            assert_eq!(envelope, bytes(&vector.envelope));
            assert_eq!(open(&key, &id, &envelope).unwrap().as_slice(), plaintext);
        }
    }

    #[test]
    fn envelope_of_format_1_keeps_opening() {
        // Sealed by the first version of this module.
        let fixture = data_encoding::HEXLOWER.decode(FIXTURE.as_bytes()).unwrap();
        assert_eq!(open(&key(1), &ID, &fixture).unwrap().as_slice(), b"correct horse battery staple");
    }

    const FIXTURE: &str = "01000000070b8319e56b3dfd0e43a4663fbc32c25772aa9c0f42387a840325323dfbe9b18b6023c22482cd81e03bf66681199faaeef15bd6c68f92a5ee";
}
