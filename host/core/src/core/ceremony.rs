//! Ceremonies: what the holders of the shares do together. They give as many shares as unseal, and then the
//! keys are others, or there is a new root token ([`root`]). New shares are given back before they count
//! ([`verification`]). Nothing of it is kept but in memory: a ceremony that breaks off has changed nothing.

pub(super) mod attempts;
pub(super) mod refusal;
mod root;
mod state;
mod status;
mod unknown;
mod verification;

use std::{sync::Arc, time::Instant};

use keyway_common::offload;
use keyway_crypto::shares::Share;
use keyway_storage::Work;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use self::{
    attempts::{Made, Rekeying, add},
    refusal::CeremonyRefusal,
    state::State,
};
pub use self::{
    root::RootStatus,
    status::{Beginner, RekeyStatus, Rekeyed},
};
use super::{Ceremonies, CoreError, Unsealed};
use crate::{
    barrier::BarrierError,
    seal::{SealRecord, ShareCounts},
};

impl Ceremonies<'_> {
    /// How far a rekeying is.
    ///
    /// # Errors
    ///
    /// `Sealed`, and the store's.
    pub async fn rekey_status(self, work: &Work) -> Result<RekeyStatus, CoreError> {
        self.0.unsealed()?;
        let record = self.seal_record(work).await?;
        Ok(self.rekey_status_by(&record))
    }

    fn rekey_status_by(self, record: &SealRecord) -> RekeyStatus {
        let rekeying = self.0.attempts.rekeying();
        let Some(rekeying) = rekeying.as_ref().filter(|rekeying| rekeying.state != State::InForce) else {
            return RekeyStatus { required: record.threshold, ..RekeyStatus::default() };
        };
        let made = rekeying.made.as_ref();
        RekeyStatus {
            nonce: Some(rekeying.nonce),
            next: (rekeying.counts.threshold, rekeying.counts.shares),
            progress: rekeying.given.len(),
            required: record.threshold,
            verifies: rekeying.verifies,
            verification: made.and_then(|made| made.verification_nonce()),
            given_back: made.and_then(|made| made.verification()).map_or(0, |back| back.given_back.len()),
        }
    }

    async fn seal_record(self, work: &Work) -> Result<SealRecord, CoreError> {
        Ok(self.0.seal_control().look(work).await?.ok_or(CoreError::NotInitialised)?.0)
    }

    /// Begins a rekey. An administrator's attempt replaces one that has no share yet.
    ///
    /// # Errors
    ///
    /// `Ceremony` if one is under way; `Sealed`, and the store's.
    pub async fn begin_rekey(
        self,
        work: &Work,
        counts: ShareCounts,
        verifies: bool,
        beginner: Beginner,
    ) -> Result<RekeyStatus, CoreError> {
        self.0.unsealed()?;
        let record = self.seal_record(work).await?;
        {
            let mut rekeying = self.0.attempts.rekeying();
            let stays = |going: &Rekeying| {
                going.is_going() && !(beginner == Beginner::Administrator && going.can_be_replaced())
            };
            if rekeying.as_ref().is_some_and(stays) {
                return Err(CeremonyRefusal::RekeyInProgress.into());
            }
            *rekeying = Some(Rekeying {
                nonce: Uuid::new_v4(),
                counts,
                verifies,
                given: Vec::new(),
                proofs: Vec::new(),
                made: None,
                state: State::Waiting,
                touched: Instant::now(),
            });
        }
        tracing::info!(shares = counts.shares, threshold = counts.threshold, "a rekeying was begun");
        Ok(self.rekey_status_by(&record))
    }

    /// Gives up a rekeying; the shares that there were stay in force. Once shares were given, that is for
    /// administrators.
    ///
    /// # Errors
    ///
    /// `Busy`; `PermissionDenied`; `Ceremony` if the new shares may be in force.
    pub fn cancel_rekey(self, is_administrator: bool) -> Result<(), CoreError> {
        let _quiet = self.0.attempts.one_at_a_time()?;
        let mut rekeying = self.0.attempts.rekeying();
        if let Some(going) = rekeying.as_ref() {
            going.check_cancel(is_administrator)?;
        }
        *rekeying = None;
        Ok(())
    }

    /// Takes one of the shares in force. The last one that is needed makes the new shares. If the new shares
    /// came into force at once and the answer was lost, the holder of one of the given shares gets them
    /// again.
    ///
    /// # Errors
    ///
    /// `WrongShare`, which leaves the progress as it is; `Ceremony` for another attempt's nonce, or if none
    /// has begun; `Busy`; the keys' and the store's.
    pub async fn rekey(self, work: &Work, nonce: &str, share: Share) -> Result<Rekeyed, CoreError> {
        let unsealed = self.0.unsealed()?;
        self.check_rekey_nonce(nonce)?;
        let quiet = self.0.attempts.one_at_a_time()?;
        let record = self.seal_record(work).await?;
        let (nonce, made) = {
            let mut rekeying = self.0.attempts.rekeying();
            let rekeying = rekeying.as_mut().ok_or(CeremonyRefusal::NoRekey)?;
            if nonce != rekeying.nonce.to_string() {
                return Err(CeremonyRefusal::RekeyRestarted.into());
            }
            match &rekeying.made {
                Some(_) if rekeying.verifies => {
                    return Err(CeremonyRefusal::SharesMade.into());
                }
                Some(made) => {
                    let hash = share.hash(record.cluster_id);
                    if !rekeying.proofs.iter().any(|proof| proof.matches(&hash)) {
                        return Err(CoreError::WrongShare);
                    }
                    (rekeying.nonce, Some(Arc::clone(made)))
                }
                None => {
                    if !record.knows(&share) {
                        return Err(CoreError::WrongShare);
                    }
                    add(&mut rekeying.given, share, record.cluster_id);
                    rekeying.touched = Instant::now();
                    (rekeying.nonce, rekeying.make(&record)?)
                }
            }
        };
        let Some(made) = made else { return Ok(Rekeyed::Going(self.rekey_status_by(&record))) };
        let shares = copies(&made.keys.shares);
        let verification = made.verification_nonce();
        if verification.is_none() {
            self.put_in_force(work, unsealed, nonce, made, quiet).await?;
        }
        Ok(Rekeyed::Made { nonce, shares, verification })
    }

    /// Whether this is the attempt that is under way. Looked at before anything that costs more.
    fn check_rekey_nonce(self, nonce: &str) -> Result<(), CoreError> {
        let rekeying = self.0.attempts.rekeying();
        let rekeying = rekeying.as_ref().ok_or(CeremonyRefusal::NoRekey)?;
        if nonce != rekeying.nonce.to_string() {
            return Err(CeremonyRefusal::RekeyNonce.into());
        }
        Ok(())
    }

    /// Goes on to its end, whether or not the caller waits for it: keys that may be in force are not forgotten.
    async fn put_in_force(
        self,
        work: &Work,
        unsealed: Arc<Unsealed>,
        attempt: Uuid,
        made: Arc<Made>,
        quiet: OwnedMutexGuard<()>,
    ) -> Result<(), CoreError> {
        let core = Arc::clone(self.0);
        let before = self.0.attempts.set_state(attempt, State::Unknown);
        let before = before.ok_or(CeremonyRefusal::RekeyRestarted)?;
        let work = work.clone();
        let put = offload::spawn(async move {
            let _quiet = quiet;
            let done = unsealed.barrier.rekey(&work, &made.keys).await;
            core.attempts.set_state(attempt, before.after(&done));
            done
        });
        Ok(put.await.unwrap_or(Err(BarrierError::Contended))?)
    }
}

fn copies(shares: &[Share]) -> Vec<Share> {
    shares.iter().filter_map(|share| Share::from_bytes(share.expose())).collect()
}
