//! Sealed or not: the shares that were given, and what an unsealed server holds.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use keyway_crypto::shares::Share;
use uuid::Uuid;

use super::{CoreError, unsealed::Unsealed};
use crate::seal::{SealRecord, Unlocked};

/// How far the seal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealStatus {
    /// Whether there is a cluster.
    pub initialised: bool,
    /// Whether the server is sealed.
    pub sealed: bool,
    /// How many shares unseal; zero without a cluster.
    pub threshold: u8,
    /// How many shares there are; zero without a cluster.
    pub shares: u8,
    /// How many have been given.
    pub progress: usize,
    /// The name of this attempt to unseal; empty if none has begun.
    pub nonce: String,
    /// The cluster, if there is one and it is unsealed.
    pub cluster: Option<Uuid>,
}

/// Shares that have been given so far.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) nonce: Uuid,
    pub(super) shares: Vec<Share>,
    /// Counts requests to seal or to begin again: shares that were given before such a request do not unseal.
    epoch: u64,
    /// Counts requests to seal, and initialisations: no unsealing that began before counts. Unlike a reset,
    /// a seal needs a token.
    seals: u64,
}

/// The point after which a seal or a reset of the shares makes an unsealing void.
pub(super) enum SessionStart {
    /// To seal, or to begin again with the shares.
    Begun(u64),
    /// To seal.
    Sealed(u64),
}

/// Whether the server is sealed, and what leads from one to the other.
#[derive(Default)]
pub(super) struct Sealing {
    unsealed: RwLock<Option<Arc<Unsealed>>>,
    progress: Mutex<Progress>,
    /// What the seal record said last, for an unsealed server whose store is away.
    seen: Mutex<Option<SealStatus>>,
    /// Whether the store was seen to hold a cluster.
    is_initialised: AtomicBool,
}

impl Sealing {
    /// What an unsealed server holds.
    ///
    /// # Errors
    ///
    /// `Sealed`.
    pub(super) fn unsealed(&self) -> Result<Arc<Unsealed>, CoreError> {
        let unsealed = self.unsealed.read().unwrap_or_else(PoisonError::into_inner);
        unsealed.clone().ok_or(CoreError::Sealed)
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the seal record said last, while the server is unsealed.
    pub(super) fn last_status(&self) -> Option<SealStatus> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        seen.filter(|_| self.unsealed().is_ok())
    }

    /// Whether the store was seen to hold a cluster.
    pub(super) fn was_initialised(&self) -> bool {
        self.is_initialised.load(Ordering::Relaxed)
    }

    /// The store holds a cluster, or none.
    pub(super) fn note_initialised(&self, is_initialised: bool) {
        self.is_initialised.store(is_initialised, Ordering::Relaxed);
    }

    /// Drops what an unsealed server holds, if `is_meant`, and does the rest of sealing; whether it did.
    pub(super) fn seal_when(
        &self,
        is_meant: impl FnOnce(Option<&Arc<Unsealed>>) -> bool,
        end: impl FnOnce(),
    ) -> bool {
        // Both under the lock of the progress, so that no unsealing that began before comes after.
        let mut progress = self.progress();
        let mut present = self.unsealed.write().unwrap_or_else(PoisonError::into_inner);
        if !is_meant(present.as_ref()) {
            return false;
        }
        *present = None;
        drop(present);
        progress.void();
        end();
        drop(progress);
        tracing::info!("sealed");
        true
    }

    /// Unseals, unless a request has sealed, begun again or unsealed since. Does `begin` before any request
    /// gets the keys.
    pub(super) fn publish(&self, unsealed: Unsealed, since: &SessionStart, begin: impl FnOnce()) -> bool {
        let mut progress = self.progress();
        let mut present = self.unsealed.write().unwrap_or_else(PoisonError::into_inner);
        let counts = match since {
            SessionStart::Begun(epoch) => progress.epoch == *epoch,
            SessionStart::Sealed(seals) => progress.seals == *seals,
        };
        if !counts || present.is_some() {
            return false;
        }
        // Under the lock under which sealing takes them away.
        begin();
        *present = Some(Arc::new(unsealed));
        progress.forget();
        true
    }

    /// Adds a share that is not there yet. The keys, once they are enough, with the epoch that they are good for.
    pub(super) fn add_share(
        &self,
        share: Share,
        record: &SealRecord,
    ) -> Result<Option<(Unlocked, u64)>, CoreError> {
        let mut progress = self.progress();
        if self.unsealed().is_ok() {
            return Ok(None);
        }
        // Shares of an initialisation that was repeated since, here or on another host.
        if progress.shares.iter().any(|given| !record.knows(given)) {
            progress.forget();
        }
        let hash = share.hash(record.cluster_id);
        if !progress.shares.iter().any(|given| given.hash(record.cluster_id).matches(&hash)) {
            if progress.shares.is_empty() {
                progress.nonce = Uuid::new_v4();
            }
            progress.shares.push(share);
        }
        if progress.shares.len() < usize::from(record.threshold) {
            return Ok(None);
        }
        match record.unlock(&progress.shares) {
            Some(unlocked) => Ok(Some((unlocked, progress.epoch))),
            None => {
                progress.forget();
                Err(CoreError::KeysDoNotOpen)
            }
        }
    }

    /// How far the seal is, by its record.
    pub(super) fn status_of(&self, record: Option<&SealRecord>) -> SealStatus {
        let sealed = self.unsealed().is_err();
        let progress = self.progress();
        let status = SealStatus {
            initialised: record.is_some(),
            sealed,
            threshold: record.map_or(0, |record| record.threshold),
            shares: record.map_or(0, |record| record.shares),
            progress: progress.shares.len(),
            nonce: if progress.nonce.is_nil() { String::new() } else { progress.nonce.to_string() },
            cluster: record.filter(|_| !sealed).map(|record| record.cluster_id),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = (!sealed).then(|| status.clone());
        status
    }
}

impl Progress {
    pub(super) fn seals(&self) -> u64 {
        self.seals
    }

    /// As `forget`, and no unsealing that is under way counts.
    pub(super) fn void(&mut self) {
        self.forget();
        self.seals += 1;
    }

    pub(super) fn forget(&mut self) {
        *self = Self { epoch: self.epoch + 1, seals: self.seals, ..Self::default() };
    }
}
