//! Unsealing: shares are gathered until they are enough, the keys that they open are confirmed, and the
//! server serves.

use std::sync::Arc;

use keyway_crypto::shares::Share;
use keyway_loader::Version;
use keyway_storage::Work;

use super::{
    CoreError, SealControl, SealStatus, Unsealed, presence, reencryption, sealing::SessionStart, upkeep,
};
use crate::{
    barrier::Barrier,
    mounts::Mounts,
    seal::{SealRecord, SealRecordError, Unlocked},
    token::forget_unopenable,
};

impl SealControl<'_> {
    /// Takes one share; unseals when it is the last that is needed.
    ///
    /// # Errors
    ///
    /// `WrongShare`, which leaves the progress as it is; `NotInitialised`; `KeysDoNotOpen` or
    /// `SharesReplaced` at the last share; `SealRecord`, `Marker`, `Lost`, `Foreign` or `NotTheSystems` for
    /// the seal record; `Token`, `Mounts` or `System` if what an unsealed server needs cannot be read or
    /// written.
    pub async fn unseal(self, work: &Work, share: Share) -> Result<SealStatus, CoreError> {
        let (record, version) = self.look(work).await?.ok_or(CoreError::NotInitialised)?;
        if self.0.unsealed().is_ok() {
            return Ok(self.0.sealing.status_of(Some(&record)));
        }
        if !record.knows(&share) {
            return Err(CoreError::WrongShare);
        }
        let Some((unlocked, epoch)) = self.0.sealing.add_share(share, &record)? else {
            return Ok(self.0.sealing.status_of(Some(&record)));
        };
        // The shares are kept until this has succeeded: a hiccup of the store must not cost them.
        self.open_up(work, (record, version), unlocked, SessionStart::Begun(epoch)).await
    }

    /// Serves with these keys, unless a seal or a reset of the shares made the unsealing void.
    pub(super) async fn open_up(
        self,
        work: &Work,
        (record, version): (SealRecord, Version),
        unlocked: Unlocked,
        since: SessionStart,
    ) -> Result<SealStatus, CoreError> {
        let barrier =
            Arc::new(Barrier::new(self.0.backends.system.clone(), unlocked, self.0.settings.key_uses));
        let record = self.confirm(work, record, version, &barrier).await?;
        let mounts = Mounts::load(&barrier, work, &self.0.settings.mounts).await?;
        let devices = self.0.audit_devices().stored(&barrier, work).await?;
        if self.0.sealing.publish(Unsealed::new(barrier, mounts), &since, || self.0.audit.have(&devices)) {
            tracing::info!(cluster = %record.cluster_id, "unsealed");
            let core = Arc::downgrade(self.0);
            self.0.upkeep.task.begin(|hurry| upkeep::run(core.clone(), hurry));
            self.0.presence.begin(|stop| presence::run(core.clone(), stop));
            self.0.reencryption.begin(|hurry| reencryption::run(core.clone(), hurry));
        }
        Ok(self.0.sealing.status_of(Some(&record)))
    }

    /// Forgets the shares that were given so far.
    pub fn reset_unseal(self) {
        self.0.sealing.progress().forget();
    }

    /// Records that the shares of this record have unsealed: from now on the initialisation cannot be
    /// repeated. Only after that, it removes the tokens of failed attempts. Answers the record as it is now.
    async fn confirm(
        self,
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
        match tidied.replace(&self.0.backends.system, work, version).await {
            Ok(_) => Ok(tidied),
            // Another host has changed the record; the next unsealing tidies again.
            Err(error) if error.is_lost_race() => Ok(record),
            Err(error) => Err(SealRecordError::from(error).into()),
        }
    }

    async fn confirm_unconfirmed(
        self,
        work: &Work,
        record: &SealRecord,
        version: Version,
    ) -> Result<(SealRecord, Version), CoreError> {
        let confirmed = record.confirmed();
        match confirmed.replace(&self.0.backends.system, work, version).await {
            Ok(version) => Ok((confirmed, version)),
            Err(error) if error.is_lost_race() => {
                // By another unsealing with the same shares, or by a repeated initialisation that made others.
                let now = SealRecord::load_versioned(&self.0.backends.system, work).await?;
                let same = |now: &SealRecord| now.is_confirmed() && now.has_shares_of(record);
                now.filter(|(now, _)| same(now)).ok_or_else(|| {
                    self.0.sealing.progress().forget();
                    CoreError::SharesReplaced
                })
            }
            Err(error) => Err(SealRecordError::from(error).into()),
        }
    }
}
