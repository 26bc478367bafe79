//! Generates a root token with the shares of their holders.

use std::time::Instant;

use keyway_crypto::{key::KEY_BYTES, shares::Share};
use keyway_storage::Work;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    attempts::{IDLE, RootAttempt, add},
    refusal::CeremonyRefusal,
    status::Beginner,
};
use crate::{
    core::{Ceremonies, CoreError},
    seal::SealRecord,
    token::{Entry, Token, TokenError},
};

/// How far the making of a root token is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootStatus {
    /// The name of the attempt; none if none has begun.
    pub nonce: Option<Uuid>,
    /// How many shares were given.
    pub progress: usize,
    /// How many are needed.
    pub required: u8,
    /// The token, hidden in the one-time pad, once there are enough.
    pub encoded: Option<Vec<u8>>,
}

impl Ceremonies<'_> {
    /// How far the making of a root token is.
    ///
    /// # Errors
    ///
    /// `Sealed`, and the store's.
    pub async fn root_status(self, work: &Work) -> Result<RootStatus, CoreError> {
        self.0.unsealed()?;
        let record = self.seal_record(work).await?;
        Ok(self.root_status_by(&record))
    }

    fn root_status_by(self, record: &SealRecord) -> RootStatus {
        let root = self.0.attempts.root();
        RootStatus {
            nonce: root.as_ref().map(|root| root.nonce),
            progress: root.as_ref().map_or(0, |root| root.given.len()),
            required: record.threshold,
            encoded: None,
        }
    }

    /// Begins to generate a root token. The one-time pad hides the token in the answer. An administrator's
    /// attempt replaces one that has no share yet.
    ///
    /// # Errors
    ///
    /// `Ceremony` if one is under way, or if the pad is not as long as a token; `Sealed`, and the store's.
    pub async fn begin_root(
        self,
        work: &Work,
        otp: Zeroizing<Vec<u8>>,
        beginner: Beginner,
    ) -> Result<RootStatus, CoreError> {
        self.0.unsealed()?;
        let record = self.seal_record(work).await?;
        if otp.len() != Token::BYTES {
            return Err(CeremonyRefusal::PadLength.into());
        }
        {
            let mut root = self.0.attempts.root();
            let stays = |root: &RootAttempt| {
                let is_replaced = beginner == Beginner::Administrator && root.given.is_empty();
                root.touched.elapsed() < IDLE && !is_replaced
            };
            if root.as_ref().is_some_and(stays) {
                return Err(CeremonyRefusal::RootInProgress.into());
            }
            *root =
                Some(RootAttempt { nonce: Uuid::new_v4(), otp, given: Vec::new(), touched: Instant::now() });
        }
        Ok(self.root_status_by(&record))
    }

    /// Gives up the making of a root token. Once shares were given, that is for administrators.
    ///
    /// # Errors
    ///
    /// `PermissionDenied`.
    pub fn cancel_root(self, is_administrator: bool) -> Result<(), CoreError> {
        let mut root = self.0.attempts.root();
        if root.as_ref().is_some_and(|root| !root.given.is_empty()) && !is_administrator {
            return Err(CoreError::PermissionDenied);
        }
        *root = None;
        Ok(())
    }

    /// Takes one share. With the last that is needed, there is a root token.
    ///
    /// # Errors
    ///
    /// As [`rekey`](Self::rekey).
    pub async fn give_for_root(
        self,
        work: &Work,
        nonce: &str,
        share: Share,
    ) -> Result<RootStatus, CoreError> {
        let unsealed = self.0.unsealed()?;
        self.root_attempt(nonce, |_| Ok(()))?;
        let _quiet = self.0.attempts.one_at_a_time()?;
        let record = self.seal_record(work).await?;
        if !record.knows(&share) {
            return Err(CoreError::WrongShare);
        }
        let progress = self.root_attempt(nonce, |root| {
            add(&mut root.given, share, record.cluster_id);
            root.touched = Instant::now();
            if root.given.len() >= usize::from(record.threshold) && record.unlock(&root.given).is_none() {
                root.given.clear();
                return Err(CoreError::KeysDoNotOpen);
            }
            Ok(root.given.len())
        })?;
        let mut status = self.root_status_by(&record);
        if progress < usize::from(record.threshold) {
            return Ok(status);
        }
        // This attempt, with its own pad: another one that is begun meanwhile is another.
        let attempt = self.0.attempts.root().take().filter(|root| root.nonce.to_string() == nonce);
        let attempt = attempt.ok_or(CeremonyRefusal::RootCancelled)?;
        let token = unsealed.tokens(work).make(None, &Entry::root().map_err(TokenError::from)?).await?;
        let hidden = token.expose().bytes().zip(attempt.otp.iter()).map(|(byte, pad)| byte ^ pad).collect();
        tracing::warn!("a root token was made by the holders of the shares");
        status.progress = progress;
        Ok(RootStatus { nonce: Some(attempt.nonce), encoded: Some(hidden), ..status })
    }

    /// Does something with the attempt of this nonce.
    fn root_attempt<T>(
        self,
        nonce: &str,
        with: impl FnOnce(&mut RootAttempt) -> Result<T, CoreError>,
    ) -> Result<T, CoreError> {
        let mut root = self.0.attempts.root();
        let root = root.as_mut().ok_or(CeremonyRefusal::NoRoot)?;
        if nonce != root.nonce.to_string() {
            return Err(CeremonyRefusal::RootNonce.into());
        }
        with(root)
    }
}

// A token is its prefix and the Base64 of a key's bytes, without padding.
const _: () = assert!(Token::BYTES == 3 + (KEY_BYTES * 8).div_ceil(6));
