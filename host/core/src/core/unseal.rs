//! Unsealing: shares are gathered until they are enough, the keys that they open are confirmed, and the server serves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyway_crypto::shares::Share;
use keyway_loader::Version;
use keyway_storage::Work;
use uuid::Uuid;

use super::{
    Core, CoreError, SealStatus, Unsealed,
    arrival::{Lineages, Seen},
};
use crate::{
    audit::spec::Spec,
    barrier::Barrier,
    mounts::Mounts,
    policy::Policies,
    seal::{SealRecord, SealRecordError, Unlocked},
    token::forget_unopenable,
};

/// Shares that have been given so far.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) nonce: Uuid,
    pub(super) shares: Vec<Share>,
    /// Counts the times that somebody said to seal or to begin anew: an unsealing by shares that began before does not count.
    epoch: u64,
    /// Counts the times that somebody said to seal, or made a cluster: no unsealing that began before counts. Strangers cannot
    /// say so, as they can say to begin anew.
    seals: u64,
}

/// Since when nobody must have said otherwise, for an unsealing to count.
pub(super) enum Since {
    /// To seal, or to begin anew with the shares.
    Begun(u64),
    /// To seal.
    Sealed(u64),
}

impl Core {
    /// Takes one share; unseals when it is the last that is needed.
    ///
    /// # Errors
    ///
    /// See [`CoreError`]. A wrong share leaves the progress as it is.
    pub async fn unseal(self: &Arc<Self>, work: &Work, share: Share) -> Result<SealStatus, CoreError> {
        let (record, version) = self.look(work).await?.ok_or(CoreError::NotInitialised)?;
        if self.unsealed().is_ok() {
            return Ok(self.status_of(Some(&record)));
        }
        if !record.knows(&share) {
            return Err(CoreError::WrongShare);
        }
        let Some((unlocked, epoch)) = self.add_share(share, &record)? else {
            return Ok(self.status_of(Some(&record)));
        };
        // The shares are kept until this has succeeded: a hiccup of the store must not cost them.
        self.open_up(work, (record, version), unlocked, Since::Begun(epoch)).await
    }

    /// Serves with these keys, unless somebody has said otherwise since.
    pub(super) async fn open_up(
        self: &Arc<Self>,
        work: &Work,
        (record, version): (SealRecord, Version),
        unlocked: Unlocked,
        since: Since,
    ) -> Result<SealStatus, CoreError> {
        let barrier = Arc::new(Barrier::new(self.system.clone(), unlocked, self.settings.key_uses));
        let record = self.confirm(work, record, version, &barrier).await?;
        let mounts = Mounts::load(&barrier, work, &self.settings.mounts).await?;
        let devices = self.audit_devices(&barrier, work).await?;
        if self.publish(
            Unsealed {
                barrier,
                mounts,
                policies: Policies::default(),
                admitted: Mutex::default(),
                seen: Seen::default(),
                lineages: Lineages::default(),
            },
            &since,
            &devices,
        ) {
            tracing::info!(cluster = %record.cluster_id, "unsealed");
            self.upkeep.begin(self);
            self.presence.begin(self);
            self.reencrypter.begin(self);
        }
        Ok(self.status_of(Some(&record)))
    }

    /// Forgets the shares that were given so far.
    pub fn reset_unseal(&self) {
        self.progress().forget();
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that somebody has unsealed with the shares of this record: from now on the initialisation cannot be
    /// repeated. Then, and not before, tokens of former attempts are removed. Answers the record as it is now.
    async fn confirm(
        &self,
        work: &Work,
        record: SealRecord,
        version: Version,
        barrier: &Barrier,
    ) -> Result<SealRecord, CoreError> {
        let (record, version) = if record.is_confirmed() {
            (record, version)
        } else {
            self.confirm_unconfirmed(work, &record, version).await?
        };
        if record.is_tidied() {
            return Ok(record);
        }
        forget_unopenable(barrier, work).await?;
        let tidied = record.tidied();
        match tidied.replace(&self.system, work, version).await {
            Ok(_) => Ok(tidied),
            // Another host has changed the record; whoever unseals next does it again.
            Err(error) if error.is_lost_race() => Ok(record),
            Err(error) => Err(SealRecordError::from(error).into()),
        }
    }

    async fn confirm_unconfirmed(
        &self,
        work: &Work,
        record: &SealRecord,
        version: Version,
    ) -> Result<(SealRecord, Version), CoreError> {
        let confirmed = record.confirmed();
        match confirmed.replace(&self.system, work, version).await {
            Ok(version) => Ok((confirmed, version)),
            Err(error) if error.is_lost_race() => {
                // By another unsealing with the same shares, or by a repeated initialisation that made others.
                let now = SealRecord::load_versioned(&self.system, work).await?;
                let same = |now: &SealRecord| now.is_confirmed() && now.has_shares_of(record);
                now.filter(|(now, _)| same(now)).ok_or_else(|| {
                    self.progress().forget();
                    CoreError::SharesReplaced
                })
            }
            Err(error) => Err(SealRecordError::from(error).into()),
        }
    }

    /// Adds a share that is not there yet. The keys, once they are enough, with the epoch that they are good for.
    fn add_share(&self, share: Share, record: &SealRecord) -> Result<Option<(Unlocked, u64)>, CoreError> {
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

    /// Unseals, unless somebody has sealed or begun anew since, or was quicker.
    fn publish(&self, unsealed: Unsealed, since: &Since, devices: &[Spec]) -> bool {
        let mut progress = self.progress();
        let mut present = self.unsealed.write().unwrap_or_else(PoisonError::into_inner);
        let counts = match since {
            Since::Begun(epoch) => progress.epoch == *epoch,
            Since::Sealed(seals) => progress.seals == *seals,
        };
        if !counts || present.is_some() {
            return false;
        }
        // Before anybody can have the keys, and under the lock under which sealing takes them away.
        self.audit.have(devices);
        *present = Some(Arc::new(unsealed));
        progress.forget();
        true
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
