//! Makes the keys of a cluster.
//!
//! The seal record is written on the condition that there is none. So two initialisations at a time make one
//! cluster, and one that is killed leaves either a cluster or nothing.
//!
//! If no one received the shares, the initialisation can be repeated explicitly, until the cluster is first
//! unsealed. The cluster keeps its identity and gets other keys. Root tokens of attempts that failed open
//! under no key; the first unsealing removes them.

use keyway_common::clock;
use keyway_crypto::{
    envelope::SealError,
    key::{RandomError, SecretKey},
    keyring::Keyring,
    shares::{Share, split},
};
use keyway_loader::{Condition, Key, Op, Put};
use keyway_storage::{SYSTEM_KEYSPACE, Storage, StorageError, Work};
use thiserror::Error;
use uuid::Uuid;

use super::record::{SealRecord, SealRecordError, seal_key};
use crate::token::Token;

/// How often an initialisation with an unknown outcome is tried.
const ATTEMPTS: u32 = 3;

/// How many shares there are to be, and how many of them unseal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareCounts {
    /// How many are made.
    pub shares: u8,
    /// How many of them unseal.
    pub threshold: u8,
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

/// What an initialisation gives to the operator, once.
pub struct Initialised {
    /// The cluster.
    pub cluster: Uuid,
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
    /// There is a cluster, and it was never unsealed.
    #[error(
        "already initialised, but never unsealed; if no one received its shares, make others with `keyway init --repeat`"
    )]
    NeverUnsealed,
    /// The seal record that is there.
    #[error(transparent)]
    SealRecord(#[from] SealRecordError),
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

/// Makes a cluster: keys, shares, root token, seal record. Does not unseal it. With `repeat`, a cluster that
/// was never unsealed gets other keys, shares and root token; the former ones are void.
///
/// # Errors
///
/// `AlreadyInitialised` if the cluster was unsealed before, or another initialisation was faster;
/// `NeverUnsealed` if it was not, and `repeat` is false; `SealRecord` or `Storage` if the seal record cannot
/// be read or written; `Random` or `Seal` if keys cannot be made.
pub async fn initialise(
    storage: &Storage,
    work: &Work,
    counts: ShareCounts,
    repeat: bool,
) -> Result<Initialised, InitError> {
    let (cluster, condition) = match SealRecord::load_versioned(storage, work).await? {
        None => (Uuid::new_v4(), Condition::Absent),
        Some((record, _)) if record.is_confirmed() => return Err(InitError::AlreadyInitialised),
        Some((record, version)) if repeat => (record.cluster_id, Condition::Version(version)),
        Some(_) => return Err(InitError::NeverUnsealed),
    };
    let (unseal, root) = (SecretKey::random()?, SecretKey::random()?);
    let keyring = Keyring::new(cluster, clock::unix_seconds())?;
    let shares = split(&unseal, counts.shares, counts.threshold);
    let root_token = Token::random()?;
    let records = root_token.root_records(&keyring)?;
    let bytes = SealRecord::new(&shares, counts.threshold, &unseal, &root, &keyring)?.to_bytes();
    let token =
        records.each_ref().map(|record| Op::put(Key::new(SYSTEM_KEYSPACE, &record.key), &record.value));
    write(storage, work, &token, Put::new(seal_key(), &bytes).when(condition)).await?;
    Ok(Initialised { cluster, shares, root_token })
}

/// Writes the token and the seal record, which is the commit point.
async fn write(storage: &Storage, work: &Work, token: &[Op<'_>], point: Put<'_>) -> Result<(), InitError> {
    let mut attempts = 0;
    loop {
        let error = match storage.commit(work, token, point).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !error.is_unknown() && !error.is_lost_race() {
            return Err(error.into());
        }
        // The store shows the outcome, whatever the answer was: only this attempt has these shares.
        attempts += 1;
        let stored = storage.get(work, seal_key()).await?;
        if stored.as_ref().is_some_and(|record| record.value() == point.value()) {
            return Ok(());
        }
        let as_before = match stored {
            None => point.condition() == Condition::Absent,
            Some(record) => point.condition() == Condition::Version(record.version()),
        };
        if !as_before {
            return Err(InitError::AlreadyInitialised);
        }
        if attempts == ATTEMPTS {
            return Err(error.into());
        }
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
