//! The barrier, which seals and opens every record. It holds the keys of an unsealed server, counts the uses
//! of the newest one, and rotates it before its limit.
//!
//! [`uses`] counts in blocks that [`reserve`] reserves durably before they are used; [`rotate`] makes keys
//! and reads those that other hosts made.

mod reserve;
mod rotate;
mod uses;

use std::sync::{Arc, PoisonError, RwLock};

use keyway_crypto::{
    envelope::{OpenError, SealError},
    key::SecretKey,
    keyring::{Keyring, Record, RotateError},
};
use keyway_storage::{Storage, StorageError, Work};
use thiserror::Error;
use uuid::Uuid;
use zeroize::Zeroizing;

use self::uses::Uses;
pub use self::uses::{KeyUse, UseBound};
use crate::seal::{SealRecordError, Unlocked};

/// The keys of an unsealed server.
pub struct Barrier {
    cluster: Uuid,
    system: Storage,
    root: RwLock<Arc<SecretKey>>,
    keyring: RwLock<Arc<Keyring>>,
    uses: Uses,
}

/// What one part of a re-encryption has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Secrets, or records of the system's, that were looked at.
    pub seen: u64,
    /// Records that were sealed again.
    pub sealed: u64,
    /// Secrets, or records of the system's, that could not be.
    pub failed: u64,
    /// The key after which the walk resumes; none at the end.
    pub next: Option<Vec<u8>>,
}

/// Why something could not be sealed or opened.
#[derive(Debug, Error)]
pub enum BarrierError {
    /// It is not what was sealed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be sealed.
    #[error("it cannot be sealed")]
    Seal(#[from] SealError),
    /// The keys could not be read, or their use not be counted.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The seal record, when the keys were read again.
    #[error(transparent)]
    SealRecord(#[from] SealRecordError),
    /// The seal record is gone, or another cluster's.
    #[error("the seal record in backend {backend:?} is gone or another cluster's")]
    NoSealRecord {
        /// Which backend.
        backend: String,
    },
    /// The record that counts the uses of a key does not open.
    #[error("the count of the uses of key {key} cannot be opened: {reason}")]
    UseRecord {
        /// Which key.
        key: u32,
        /// Why.
        reason: OpenError,
    },
    /// There is no further key.
    #[error(transparent)]
    Rotate(#[from] RotateError),
    /// The root key is another by now.
    #[error("the keys were changed on another host; seal this one, and unseal it with the new shares")]
    Rekeyed,
    /// Other hosts kept rotating or reserving at the same time.
    #[error("too many hosts change the keys at the same time; nothing was changed")]
    Contended,
}

impl Barrier {
    /// The barrier of the cluster whose keys these are. They are used at most `bound` times each.
    pub fn new(system: Storage, unlocked: Unlocked, bound: UseBound) -> Self {
        let Unlocked { root, keyring } = unlocked;
        Self {
            cluster: keyring.cluster(),
            system,
            root: RwLock::new(Arc::new(root)),
            keyring: RwLock::new(Arc::new(keyring)),
            uses: Uses::new(bound),
        }
    }

    /// Seals a record with the newest key.
    ///
    /// # Errors
    ///
    /// `Seal` if the plaintext is too long for an envelope; `Storage`, `UseRecord` or `Contended` if the use
    /// of the key cannot be counted; `SealRecord`, `NoSealRecord`, `Rekeyed`, `Rotate` or `Open` if the key
    /// has to be replaced and cannot be. Then nothing is sealed.
    pub async fn seal(
        &self,
        work: &Work,
        record: &Record<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, BarrierError> {
        loop {
            let keyring = self.keyring();
            if self.uses.take(keyring.newest()) {
                return Ok(keyring.seal(record, plaintext)?);
            }
            self.reserve(work).await?;
        }
    }

    /// Opens a record with the key that it was sealed with. A key that another host made is read first.
    ///
    /// # Errors
    ///
    /// `Open` if the envelope is changed or another record's; `Storage`, `SealRecord`, `NoSealRecord` or
    /// `Rekeyed` if a key that another host made cannot be read.
    pub async fn open(
        &self,
        work: &Work,
        record: &Record<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, BarrierError> {
        match self.keyring().open(record, sealed) {
            Err(OpenError::UnknownKey(number)) => {
                self.read_until(work, number).await?;
                Ok(self.keyring().open(record, sealed)?)
            }
            opened => Ok(opened?),
        }
    }

    /// The name under which a token is stored.
    pub fn token_name(&self, token: &str) -> [u8; 32] {
        self.keyring().token_name(token)
    }

    /// The name of what else is found by a text that the store must not know.
    pub fn name(&self, domain: &str, text: &str) -> [u8; 32] {
        self.keyring().name(domain, text)
    }

    /// The cluster.
    pub fn cluster(&self) -> Uuid {
        self.cluster
    }

    /// The backend of the system's own records.
    pub fn system(&self) -> &Storage {
        &self.system
    }

    /// The key that seals, and how often it may have been used.
    pub fn key_use(&self) -> KeyUse {
        let keyring = self.keyring();
        self.uses.of(keyring.newest(), keyring.newest_made())
    }

    fn root(&self) -> Arc<SecretKey> {
        Arc::clone(&self.root.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a keyring into use, unless the present one is newer.
    fn publish(&self, keyring: Keyring) {
        let mut present = self.keyring.write().unwrap_or_else(PoisonError::into_inner);
        if keyring.newest() > present.newest() {
            *present = Arc::new(keyring);
        }
    }
}
