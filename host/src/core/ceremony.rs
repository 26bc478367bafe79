//! Ceremonies: what the holders of the shares do together. They give as many shares as unseal, and then the keys are others,
//! or there is a new root token. Nothing of it is kept but in memory: a ceremony that breaks off has changed nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Core, CoreError, Unsealed};
use crate::{
    crypto::{
        key::{KEY_BYTES, SecretKey},
        shares::{Share, split},
    },
    seal::{NextKeys, SealRecord, ShareCounts},
    storage::RequestId,
    token::{Entry, Token, TokenError},
};

/// The ceremonies that are under way.
#[derive(Default)]
pub(super) struct Ceremonies {
    rekeying: Mutex<Option<Rekeying>>,
    root: Mutex<Option<RootAttempt>>,
    /// Held by whoever gives a share.
    giving: tokio::sync::Mutex<()>,
}

struct Rekeying {
    nonce: Uuid,
    counts: ShareCounts,
    /// Whether the new shares must be given back before they count.
    verifies: bool,
    given: Vec<Share>,
    made: Option<Made>,
}

/// Keys that were made, and are not in force yet.
struct Made {
    nonce: Uuid,
    keys: NextKeys,
    given_back: Vec<Share>,
}

struct RootAttempt {
    nonce: Uuid,
    otp: Zeroizing<Vec<u8>>,
    given: Vec<Share>,
}

/// How far a rekeying is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RekeyStatus {
    /// The name of the attempt; none where none has begun.
    pub nonce: Option<Uuid>,
    /// How many shares unseal, and how many there are, of those that are to come.
    pub next: (u8, u8),
    /// How many shares were given.
    pub progress: usize,
    /// How many are needed.
    pub required: u8,
    /// Whether the new shares must be given back before they count.
    pub verifies: bool,
    /// The name of the giving back; none where there is nothing to be given back.
    pub verification: Option<Uuid>,
    /// How many were given back.
    pub given_back: usize,
}

/// What a share has led to.
pub enum Rekeyed {
    /// More are needed.
    Going(RekeyStatus),
    /// The new shares, for their holders; the name of their giving back, where that is needed before they count.
    Made {
        /// The name of the attempt.
        nonce: Uuid,
        /// The shares.
        shares: Vec<Share>,
        /// The name of the giving back.
        verification: Option<Uuid>,
    },
    /// The new shares are in force.
    InForce(Uuid),
}

/// How far the making of a root token is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootStatus {
    /// The name of the attempt; none where none has begun.
    pub nonce: Option<Uuid>,
    /// How many shares were given.
    pub progress: usize,
    /// How many are needed.
    pub required: u8,
    /// The token, hidden in the one-time pad, once there are enough.
    pub encoded: Option<Vec<u8>>,
}

impl Ceremonies {
    fn rekeying(&self) -> MutexGuard<'_, Option<Rekeying>> {
        self.rekeying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn root(&self) -> MutexGuard<'_, Option<RootAttempt>> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is under way any more.
    pub(super) fn forget(&self) {
        *self.rekeying() = None;
        *self.root() = None;
    }
}

/// Adds a share that is not there yet.
fn add(given: &mut Vec<Share>, share: Share, cluster: Uuid) {
    let hash = share.hash(cluster);
    if !given.iter().any(|one| one.hash(cluster).matches(&hash)) {
        given.push(share);
    }
}

fn refused(message: &str) -> CoreError {
    CoreError::Ceremony(message.to_owned())
}

impl Core {
    /// How far a rekeying is.
    ///
    /// # Errors
    ///
    /// `Sealed`, and the store's.
    pub async fn rekey_status(&self, request: RequestId) -> Result<RekeyStatus, CoreError> {
        self.unsealed()?;
        let record = self.seal_record(request).await?;
        Ok(self.rekey_status_by(&record))
    }

    fn rekey_status_by(&self, record: &SealRecord) -> RekeyStatus {
        let rekeying = self.ceremonies.rekeying();
        let Some(rekeying) = rekeying.as_ref() else {
            return RekeyStatus { required: record.threshold, ..RekeyStatus::default() };
        };
        let made = rekeying.made.as_ref();
        RekeyStatus {
            nonce: Some(rekeying.nonce),
            next: (rekeying.counts.threshold, rekeying.counts.shares),
            progress: rekeying.given.len(),
            required: record.threshold,
            verifies: rekeying.verifies,
            verification: made.map(|made| made.nonce),
            given_back: made.map_or(0, |made| made.given_back.len()),
        }
    }

    async fn seal_record(&self, request: RequestId) -> Result<SealRecord, CoreError> {
        Ok(self.look(request).await?.ok_or(CoreError::NotInitialised)?.0)
    }

    /// Begins a rekeying.
    ///
    /// # Errors
    ///
    /// `Ceremony` where one is under way; `Sealed`, and the store's.
    pub async fn begin_rekey(
        &self,
        request: RequestId,
        counts: ShareCounts,
        verifies: bool,
    ) -> Result<RekeyStatus, CoreError> {
        self.unsealed()?;
        let record = self.seal_record(request).await?;
        {
            let mut rekeying = self.ceremonies.rekeying();
            if rekeying.is_some() {
                return Err(refused("rekey already in progress"));
            }
            let nonce = Uuid::new_v4();
            *rekeying = Some(Rekeying { nonce, counts, verifies, given: Vec::new(), made: None });
        }
        tracing::info!(shares = counts.shares, threshold = counts.threshold, "a rekeying was begun");
        Ok(self.rekey_status_by(&record))
    }

    /// Gives up a rekeying; the shares that there were stay in force.
    pub fn cancel_rekey(&self) {
        *self.ceremonies.rekeying() = None;
    }

    /// Gives up the new shares of a rekeying, so that others can be made of it.
    pub fn cancel_verification(&self) {
        if let Some(rekeying) = self.ceremonies.rekeying().as_mut() {
            rekeying.made = None;
            rekeying.given.clear();
        }
    }

    /// Takes one of the shares that are in force. With the last that is needed, new ones are made.
    ///
    /// # Errors
    ///
    /// `WrongShare`, which leaves the progress as it is; `Ceremony` for another attempt's nonce, or where none has begun; the
    /// keys' and the store's.
    pub async fn rekey(&self, request: RequestId, nonce: &str, share: Share) -> Result<Rekeyed, CoreError> {
        let unsealed = self.unsealed()?;
        let _one_at_a_time = self.ceremonies.giving.lock().await;
        let record = self.seal_record(request).await?;
        let (counts, verifies, nonce) = {
            let mut rekeying = self.ceremonies.rekeying();
            let rekeying = rekeying.as_mut().ok_or_else(|| refused("no rekey in progress"))?;
            if nonce != rekeying.nonce.to_string() {
                return Err(refused(
                    "incorrect nonce supplied; the nonce for this rekey operation is told by its start",
                ));
            }
            if rekeying.made.is_some() {
                return Err(refused("the new shares are made: give them back to rekey/verify"));
            }
            if !record.knows(&share) {
                return Err(CoreError::WrongShare);
            }
            add(&mut rekeying.given, share, record.cluster_id);
            if rekeying.given.len() >= usize::from(record.threshold)
                && record.unlock(&rekeying.given).is_none()
            {
                rekeying.given.clear();
                return Err(CoreError::KeysDoNotOpen);
            }
            (rekeying.counts, rekeying.verifies, rekeying.nonce)
        };
        let status = self.rekey_status_by(&record);
        if status.progress < usize::from(record.threshold) {
            return Ok(Rekeyed::Going(status));
        }
        let (unseal, root) = (random()?, random()?);
        let shares = split(&unseal, counts.shares, counts.threshold);
        let keys = NextKeys { shares, threshold: counts.threshold, unseal, root };
        let shares = copies(&keys.shares);
        let verification = verifies.then(Uuid::new_v4);
        if let Some(rekeying) = self.ceremonies.rekeying().as_mut() {
            // Kept until they are in force: an unknown outcome is found out by asking again.
            let given_back = Vec::new();
            rekeying.made = Some(Made { nonce: verification.unwrap_or(rekeying.nonce), keys, given_back });
        }
        if !verifies {
            self.put_in_force(request, &unsealed).await?;
        }
        Ok(Rekeyed::Made { nonce, shares, verification })
    }

    /// Takes back one of the new shares. With the last that is needed they are in force, and the former ones are dead.
    ///
    /// # Errors
    ///
    /// As [`rekey`](Self::rekey).
    pub async fn verify_rekey(
        &self,
        request: RequestId,
        nonce: &str,
        share: Share,
    ) -> Result<Rekeyed, CoreError> {
        let unsealed = self.unsealed()?;
        let _one_at_a_time = self.ceremonies.giving.lock().await;
        let record = self.seal_record(request).await?;
        let nonce = {
            let mut rekeying = self.ceremonies.rekeying();
            let made = rekeying.as_mut().and_then(|rekeying| rekeying.made.as_mut());
            let made = made.ok_or_else(|| refused("no rekey verification in progress"))?;
            if nonce != made.nonce.to_string() {
                return Err(refused(
                    "incorrect nonce supplied; the nonce for this verification is told with the new shares",
                ));
            }
            let hash = share.hash(record.cluster_id);
            if !made.keys.shares.iter().any(|one| one.hash(record.cluster_id).matches(&hash)) {
                return Err(CoreError::WrongShare);
            }
            add(&mut made.given_back, share, record.cluster_id);
            (made.given_back.len() >= usize::from(made.keys.threshold)).then_some(made.nonce)
        };
        let Some(nonce) = nonce else { return Ok(Rekeyed::Going(self.rekey_status_by(&record))) };
        self.put_in_force(request, &unsealed).await?;
        Ok(Rekeyed::InForce(nonce))
    }

    async fn put_in_force(&self, request: RequestId, unsealed: &Unsealed) -> Result<(), CoreError> {
        // Out of the lock for as long as the store takes; nobody else gives shares meanwhile.
        let taken = self.ceremonies.rekeying().as_mut().and_then(|rekeying| rekeying.made.take());
        let made = taken.ok_or_else(|| refused("no rekey verification in progress"))?;
        let done = unsealed.barrier.rekey(request, &made.keys).await;
        let mut rekeying = self.ceremonies.rekeying();
        match done {
            Ok(()) => {
                *rekeying = None;
                Ok(())
            }
            Err(error) => {
                if let Some(rekeying) = rekeying.as_mut() {
                    rekeying.made = Some(made);
                }
                Err(error.into())
            }
        }
    }

    /// How far the making of a root token is.
    ///
    /// # Errors
    ///
    /// `Sealed`, and the store's.
    pub async fn root_status(&self, request: RequestId) -> Result<RootStatus, CoreError> {
        self.unsealed()?;
        let record = self.seal_record(request).await?;
        Ok(self.root_status_by(&record))
    }

    fn root_status_by(&self, record: &SealRecord) -> RootStatus {
        let root = self.ceremonies.root();
        RootStatus {
            nonce: root.as_ref().map(|root| root.nonce),
            progress: root.as_ref().map_or(0, |root| root.given.len()),
            required: record.threshold,
            encoded: None,
        }
    }

    /// Begins the making of a root token, which will be hidden in this one-time pad.
    ///
    /// # Errors
    ///
    /// `Ceremony` where one is under way, or the pad is not as long as a token; `Sealed`, and the store's.
    pub async fn begin_root(
        &self,
        request: RequestId,
        otp: Zeroizing<Vec<u8>>,
    ) -> Result<RootStatus, CoreError> {
        self.unsealed()?;
        let record = self.seal_record(request).await?;
        if otp.len() != Token::BYTES {
            return Err(refused(&format!("the one-time pad (otp) must have {} bytes", Token::BYTES)));
        }
        {
            let mut root = self.ceremonies.root();
            if root.is_some() {
                return Err(refused("root generation already in progress"));
            }
            *root = Some(RootAttempt { nonce: Uuid::new_v4(), otp, given: Vec::new() });
        }
        Ok(self.root_status_by(&record))
    }

    /// Gives up the making of a root token.
    pub fn cancel_root(&self) {
        *self.ceremonies.root() = None;
    }

    /// Takes one share. With the last that is needed, there is a root token.
    ///
    /// # Errors
    ///
    /// As [`rekey`](Self::rekey).
    pub async fn give_for_root(
        &self,
        request: RequestId,
        nonce: &str,
        share: Share,
    ) -> Result<RootStatus, CoreError> {
        let unsealed = self.unsealed()?;
        let _one_at_a_time = self.ceremonies.giving.lock().await;
        let record = self.seal_record(request).await?;
        {
            let mut root = self.ceremonies.root();
            let root = root.as_mut().ok_or_else(|| refused("no root generation in progress"))?;
            if nonce != root.nonce.to_string() {
                return Err(refused(
                    "incorrect nonce supplied; the nonce for this root generation is told by its start",
                ));
            }
            if !record.knows(&share) {
                return Err(CoreError::WrongShare);
            }
            add(&mut root.given, share, record.cluster_id);
            if root.given.len() >= usize::from(record.threshold) && record.unlock(&root.given).is_none() {
                root.given.clear();
                return Err(CoreError::KeysDoNotOpen);
            }
        }
        let status = self.root_status_by(&record);
        if status.progress < usize::from(record.threshold) {
            return Ok(status);
        }
        let token = unsealed.tokens(request).make(None, &Entry::root().map_err(TokenError::from)?).await?;
        let attempt =
            self.ceremonies.root().take().ok_or_else(|| refused("the root generation was cancelled"))?;
        let hidden = token.expose().bytes().zip(attempt.otp.iter()).map(|(byte, pad)| byte ^ pad).collect();
        tracing::warn!("a root token was made by the holders of the shares");
        Ok(RootStatus { encoded: Some(hidden), ..status })
    }
}

fn random() -> Result<SecretKey, CoreError> {
    SecretKey::random().map_err(|error| TokenError::from(error).into())
}

fn copies(shares: &[Share]) -> Vec<Share> {
    shares.iter().filter_map(|share| Share::from_bytes(share.expose())).collect()
}

// A token is its prefix and the Base64 of a key's bytes, without padding.
const _: () = assert!(Token::BYTES == 3 + (KEY_BYTES * 8).div_ceil(6));
