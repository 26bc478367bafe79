//! The new shares' way back: those of a rekeying count once enough of them were given back.

use std::{sync::Arc, time::Instant};

use keyway_crypto::shares::Share;
use keyway_storage::Work;
use uuid::Uuid;

use super::{
    attempts::{Made, Verification, add},
    refusal::CeremonyRefusal,
    state::State,
    status::{RekeyStatus, Rekeyed},
};
use crate::core::{Ceremonies, CoreError};

impl Ceremonies<'_> {
    /// Has the new shares of a rekeying given back from the beginning, under another nonce.
    ///
    /// # Errors
    ///
    /// `Ceremony` if there is no rekeying; and as [`cancel_rekey`](Self::cancel_rekey).
    pub async fn restart_verification(
        self,
        work: &Work,
        is_administrator: bool,
    ) -> Result<RekeyStatus, CoreError> {
        self.0.unsealed()?;
        let _quiet = self.0.attempts.one_at_a_time()?;
        let record = self.seal_record(work).await?;
        {
            let mut rekeying = self.0.attempts.rekeying();
            let going = rekeying.as_mut().filter(|rekeying| rekeying.state != State::InForce);
            let going = going.ok_or(CeremonyRefusal::NoRekeyConfiguration)?;
            going.check_cancel(is_administrator)?;
            going.touched = Instant::now();
            if let Some(mut verification) = going.made.as_ref().and_then(|made| made.verification()) {
                *verification = Verification::new();
            }
        }
        Ok(self.rekey_status_by(&record))
    }

    /// The new keys, if this is the nonce of their giving back.
    fn made_by_verification(self, nonce: &str) -> Result<(Uuid, Arc<Made>), CoreError> {
        let rekeying = self.0.attempts.rekeying();
        let going =
            rekeying.as_ref().filter(|rekeying| rekeying.verifies && rekeying.state != State::InForce);
        let made = going.and_then(|rekeying| Some((rekeying.nonce, Arc::clone(rekeying.made.as_ref()?))));
        let (attempt, made) = made.ok_or(CeremonyRefusal::NoVerification)?;
        if made.verification_nonce().is_none_or(|right| nonce != right.to_string()) {
            return Err(CeremonyRefusal::VerificationNonce.into());
        }
        Ok((attempt, made))
    }

    /// Takes back one of the new shares. With the last that is needed they are in force, and the former ones
    /// are dead.
    ///
    /// # Errors
    ///
    /// As [`rekey`](Self::rekey). After an unknown outcome, any of the new shares finds out.
    pub async fn verify_rekey(self, work: &Work, nonce: &str, share: Share) -> Result<Rekeyed, CoreError> {
        let unsealed = self.0.unsealed()?;
        self.made_by_verification(nonce)?;
        let quiet = self.0.attempts.one_at_a_time()?;
        let (attempt, made) = self.made_by_verification(nonce)?;
        let record = self.seal_record(work).await?;
        let hash = share.hash(record.cluster_id);
        if !made.keys.shares.iter().any(|one| one.hash(record.cluster_id).matches(&hash)) {
            return Err(CoreError::WrongShare);
        }
        self.0.attempts.touch(attempt);
        let (nonce, enough) = {
            let verification = made.verification();
            let mut verification = verification.ok_or(CeremonyRefusal::NoVerification)?;
            add(&mut verification.given_back, share, record.cluster_id);
            (verification.nonce, verification.given_back.len() >= usize::from(made.keys.threshold))
        };
        if !enough {
            return Ok(Rekeyed::Going(self.rekey_status_by(&record)));
        }
        self.put_in_force(work, unsealed, attempt, made, quiet).await?;
        Ok(Rekeyed::InForce(nonce))
    }
}
