//! Shamir shares of the unseal key (Shamir, "How to share a secret", 1979), over GF(256).

use sha2::{Digest, Sha256};
use sharks::{Share as SharkShare, Sharks};
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::key::{KEY_BYTES, SecretKey};

/// The length of a share: its x coordinate and one byte for each of the key's.
pub(crate) const SHARE_BYTES: usize = 1 + KEY_BYTES;

/// One share of the unseal key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Share(Vec<u8>);

/// The hash of a share. The server keeps it, so that it can refuse a single wrong share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareHash([u8; 32]);

impl Share {
    /// A share from its bytes, or `None` if their number is another than [`SHARE_BYTES`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == SHARE_BYTES).then(|| Self(bytes.to_vec()))
    }

    /// The bytes, for the person who is to keep the share.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The hash of this share in a cluster.
    pub fn hash(&self, cluster: Uuid) -> ShareHash {
        let hash =
            Sha256::new_with_prefix(b"keyway share\0").chain_update(cluster.as_bytes()).chain_update(&self.0);
        ShareHash(hash.finalize().into())
    }
}

impl ShareHash {
    /// A hash from its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the same, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Splits a key into `shares` shares, any `threshold` of which give it back.
pub fn split(key: &SecretKey, shares: u8, threshold: u8) -> Vec<Share> {
    Sharks(threshold)
        .dealer(key.expose())
        .take(usize::from(shares))
        .map(|share| Share(Vec::from(&share)))
        .collect()
}

/// The key that `threshold` or more distinct shares give back; `None` if they are too few. Shares of
/// different keys give some key, which unwraps nothing.
pub fn combine(shares: &[Share], threshold: u8) -> Option<SecretKey> {
    let shares: Option<Vec<SharkShare>> =
        shares.iter().map(|share| SharkShare::try_from(share.0.as_slice()).ok()).collect();
    let key = Zeroizing::new(Sharks(threshold).recover(&shares?).ok()?);
    SecretKey::from_bytes(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_threshold_of_shares_gives_the_key_back_and_fewer_do_not() {
        let key = SecretKey::random().unwrap();
        let mut shares = split(&key, 5, 3);
        assert_eq!(shares.len(), 5);
        assert!(combine(&shares[1..4], 3).unwrap() == key);
        assert!(combine(&shares[..2], 3).is_none());
        shares.truncate(3);
        shares.reverse();
        assert!(combine(&shares, 3).unwrap() == key);
    }

    #[test]
    fn one_share_of_one_is_enough() {
        let key = SecretKey::random().unwrap();
        assert!(combine(&split(&key, 1, 1), 1).unwrap() == key);
    }

    #[test]
    fn hash_depends_on_share_and_cluster() {
        let shares = split(&SecretKey::random().unwrap(), 2, 2);
        let cluster = Uuid::from_u128(1);
        assert!(shares[0].hash(cluster).matches(&shares[0].hash(cluster)));
        assert!(!shares[0].hash(cluster).matches(&shares[1].hash(cluster)));
        assert!(!shares[0].hash(cluster).matches(&shares[0].hash(Uuid::from_u128(2))));
    }
}
