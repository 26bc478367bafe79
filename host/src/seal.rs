//! The seal record: what of the key hierarchy lies in the store, and how shares become keys again.
//!
//! Shamir shares rebuild the unseal key, which wraps the root key, which wraps the keyring. All of it stands in one
//! record of the system backend, written under the condition that there is none: two initialisations at a time make one
//! cluster, and one that is killed leaves either a cluster or nothing.

use data_encoding::BASE64;
use keyway_loader::{Condition, Key, Op, Put};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::{
    clock,
    crypto::{
        envelope::SealError,
        key::{RandomError, SecretKey},
        keyring::{Keyring, unwrap_root, wrap_root},
        shares::{Share, ShareHash, combine, split},
    },
    storage::{RequestId, Storage, StorageError},
    token::Token,
};

/// The keyspace of the system's own records.
pub const SYSTEM_KEYSPACE: &str = "keyway-system";
const SEAL_KEY: &[u8] = b"seal";
const FORMAT: u32 = 1;
/// How often an initialisation with an unknown outcome is tried.
const ATTEMPTS: u32 = 3;

/// How many shares there are to be, and how many of them unseal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareCounts {
    shares: u8,
    threshold: u8,
}

impl ShareCounts {
    /// Parses the two numbers.
    ///
    /// # Errors
    ///
    /// A line that says which bound is broken.
    pub fn new(shares: u64, threshold: u64) -> Result<Self, String> {
        let in_range = |number: u64| u8::try_from(number).ok().filter(|number| *number > 0);
        let Some(parsed) = in_range(shares) else {
            return Err("secret_shares must be between 1 and 255".to_owned());
        };
        let Some(needed) = in_range(threshold).filter(|threshold| *threshold <= parsed) else {
            return Err("secret_threshold must be between 1 and secret_shares".to_owned());
        };
        if parsed > 1 && needed == 1 {
            return Err("secret_threshold must be greater than one for multiple shares".to_owned());
        }
        Ok(Self { shares: parsed, threshold: needed })
    }
}

/// The record in the store. Nothing in it is secret by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
}

/// What an initialisation gives to the operator, once.
pub struct Initialised {
    /// The shares of the unseal key.
    pub shares: Vec<Share>,
    /// The root token.
    pub root_token: Token,
}

/// Why an initialisation failed.
#[derive(Debug, Error)]
pub enum InitError {
    /// There is a cluster already.
    #[error("already initialised")]
    AlreadyInitialised,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Something could not be sealed.
    #[error("seal the new keys")]
    Seal(#[from] SealError),
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
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

/// Makes a cluster: keys, shares, root token, seal record. Does not unseal it.
///
/// # Errors
///
/// See [`InitError`].
pub async fn initialise(
    storage: &Storage,
    request: RequestId,
    counts: ShareCounts,
) -> Result<Initialised, InitError> {
    let cluster = Uuid::new_v4();
    let (unseal, root) = (SecretKey::random()?, SecretKey::random()?);
    let keyring = Keyring::new(cluster)?;
    let shares = split(&unseal, counts.shares, counts.threshold);
    let root_token = Token::random()?;
    let token_record = root_token.record(&keyring)?;
    let record = SealRecord {
        format: FORMAT,
        cluster_id: cluster,
        created: clock::now(),
        shares: counts.shares,
        threshold: counts.threshold,
        share_hashes: shares.iter().map(|share| BASE64.encode(share.hash(cluster).as_bytes())).collect(),
        wrapped_root_key: BASE64.encode(&wrap_root(cluster, &unseal, &root)?),
        wrapped_keyring: BASE64.encode(&keyring.wrap(&root)?),
    };
    let text = serde_json::to_vec(&record).expect("a seal record is plain data");
    let token = Op::put(Key::new(SYSTEM_KEYSPACE, &token_record.key), &token_record.value);
    let point = Put::new(Key::new(SYSTEM_KEYSPACE, SEAL_KEY), &text).when(Condition::Absent);
    let initialised = Initialised { shares, root_token };
    let mut attempts = 0;
    loop {
        let error = match storage.commit(request, &[token], point).await {
            Ok(()) => return Ok(initialised),
            Err(error) => error,
        };
        if !error.is_unknown() && !error.is_lost_race() {
            return Err(error.into());
        }
        // Whatever was answered, the store knows: nobody else has these shares.
        attempts += 1;
        match storage.get(request, Key::new(SYSTEM_KEYSPACE, SEAL_KEY)).await? {
            Some(record) if record.value() == text => return Ok(initialised),
            Some(_) => return Err(InitError::AlreadyInitialised),
            None if attempts < ATTEMPTS => {}
            None => return Err(error.into()),
        }
    }
}

impl SealRecord {
    /// The record of the cluster, or none where the store is not initialised.
    ///
    /// # Errors
    ///
    /// See [`SealRecordError`].
    pub async fn load(storage: &Storage, request: RequestId) -> Result<Option<Self>, SealRecordError> {
        let Some(record) = storage.get(request, Key::new(SYSTEM_KEYSPACE, SEAL_KEY)).await? else {
            return Ok(None);
        };
        let malformed =
            |reason: String| SealRecordError::Malformed { backend: storage.name().to_owned(), reason };
        let parsed: Self =
            serde_json::from_slice(record.value()).map_err(|error| malformed(error.to_string()))?;
        if parsed.format != FORMAT {
            return Err(malformed(format!(
                "its format is {}, and this version knows {FORMAT}",
                parsed.format
            )));
        }
        Ok(Some(parsed))
    }

    /// Whether a share is one of this cluster's, by its hash.
    pub fn knows(&self, share: &Share) -> bool {
        let hash = share.hash(self.cluster_id);
        let hashes = self.share_hashes.iter().filter_map(|text| BASE64.decode(text.as_bytes()).ok());
        hashes.filter_map(|bytes| ShareHash::from_bytes(&bytes)).any(|known| known.matches(&hash))
    }

    /// The keyring, out of as many shares as are needed; none where they do not fit the record.
    pub fn unlock(&self, shares: &[Share]) -> Option<Keyring> {
        let unseal = combine(shares, self.threshold)?;
        let decode = |text: &str| BASE64.decode(text.as_bytes()).ok();
        let root = unwrap_root(self.cluster_id, &unseal, &decode(&self.wrapped_root_key)?).ok()?;
        Keyring::unwrap(self.cluster_id, &root, &decode(&self.wrapped_keyring)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_outside_their_bounds_are_refused() {
        for (shares, threshold) in [(0, 0), (256, 3), (5, 6), (5, 0), (5, 1), (u64::MAX, 1)] {
            assert!(ShareCounts::new(shares, threshold).is_err(), "{shares}/{threshold}");
        }
        for (shares, threshold) in [(1, 1), (5, 3), (255, 255), (2, 2)] {
            assert!(ShareCounts::new(shares, threshold).is_ok(), "{shares}/{threshold}");
        }
    }
}
