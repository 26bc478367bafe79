//! Ceremonies: what the holders of the shares do together. They give as many shares as unseal, and then the keys are others,
//! or there is a new root token ([`root`]). New shares are given back before they count ([`verification`]). Nothing of it is kept but in memory: a ceremony that breaks off has changed nothing.

mod root;
mod state;
mod unknown;
mod verification;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use keyway_common::offload;
use keyway_crypto::{
    key::SecretKey,
    shares::{Share, ShareHash, split},
};
use keyway_storage::Work;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

pub use self::root::RootStatus;
use self::{
    root::RootAttempt,
    state::State,
    verification::{Made, Verification},
};
use super::{Core, CoreError, Unsealed};
use crate::{
    barrier::BarrierError,
    seal::{NextKeys, SealRecord, ShareCounts},
    token::TokenError,
};

/// How long an attempt lasts that nobody gives a share to: whoever begins one does not keep others from it for ever.
const IDLE: Duration = Duration::from_secs(1_800);

/// The ceremonies that are under way.
#[derive(Default)]
pub(super) struct Ceremonies {
    rekeying: Mutex<Option<Rekeying>>,
    root: Mutex<Option<RootAttempt>>,
    /// Held by whoever gives a share, until what it has led to is known.
    giving: Arc<tokio::sync::Mutex<()>>,
}

struct Rekeying {
    nonce: Uuid,
    counts: ShareCounts,
    /// Whether the new shares must be given back before they count.
    verifies: bool,
    given: Vec<Share>,
    /// The shares that were enough: whoever has one is told the new ones again, where these are not given back.
    proofs: Vec<ShareHash>,
    made: Option<Arc<Made>>,
    state: State,
    touched: Instant,
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

/// Who begins a ceremony.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginner {
    /// A token with `sudo`.
    Administrator,
    /// Anybody else who may.
    Anybody,
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

impl Rekeying {
    /// Whether it keeps others from beginning one.
    fn is_going(&self) -> bool {
        match self.state {
            State::InForce => false,
            State::Unknown => true,
            State::Waiting => self.touched.elapsed() < IDLE,
        }
    }

    /// Whether somebody who may has another one take its place: nobody has given a share to it yet.
    fn can_be_replaced(&self) -> bool {
        self.state == State::Waiting && self.given.is_empty() && self.made.is_none()
    }

    fn check_cancel(&self, is_administrator: bool) -> Result<(), CoreError> {
        match self.state {
            State::InForce => Ok(()),
            State::Unknown => Err(refused(
                "the new shares may be in force: give one of them again, which finds out, before you give the rekeying up",
            )),
            State::Waiting if is_administrator || self.can_be_replaced() => Ok(()),
            State::Waiting => Err(CoreError::PermissionDenied),
        }
    }

    /// New keys, once enough shares were given.
    fn make(&mut self, record: &SealRecord) -> Result<Option<Arc<Made>>, CoreError> {
        if self.given.len() < usize::from(record.threshold) {
            return Ok(None);
        }
        if record.unlock(&self.given).is_none() {
            self.given.clear();
            return Err(CoreError::KeysDoNotOpen);
        }
        let (unseal, root) = (random()?, random()?);
        let shares = split(&unseal, self.counts.shares, self.counts.threshold);
        let keys = NextKeys { shares, threshold: self.counts.threshold, unseal, root };
        let verification = self.verifies.then(|| Mutex::new(Verification::new()));
        self.proofs = self.given.drain(..).map(|share| share.hash(record.cluster_id)).collect();
        let made = Arc::new(Made { keys, verification });
        self.made = Some(Arc::clone(&made));
        Ok(Some(made))
    }
}

impl Ceremonies {
    fn rekeying(&self) -> MutexGuard<'_, Option<Rekeying>> {
        self.rekeying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn root(&self) -> MutexGuard<'_, Option<RootAttempt>> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody goes on with this attempt.
    fn touch(&self, attempt: Uuid) {
        if let Some(rekeying) = self.rekeying().as_mut().filter(|rekeying| rekeying.nonce == attempt) {
            rekeying.touched = Instant::now();
        }
    }

    /// How far this attempt's keys are from now on; how far they were, if it is still there.
    fn set_state(&self, attempt: Uuid, next: State) -> Option<State> {
        let mut rekeying = self.rekeying();
        let rekeying = rekeying.as_mut().filter(|rekeying| rekeying.nonce == attempt)?;
        Some(std::mem::replace(&mut rekeying.state, next))
    }

    /// Nothing is under way any more, but for keys that may be in force.
    pub(super) fn forget(&self) {
        let is_quiet = self.giving.try_lock().is_ok();
        let mut rekeying = self.rekeying();
        if is_quiet && rekeying.as_ref().is_some_and(|rekeying| rekeying.state != State::Unknown) {
            *rekeying = None;
        }
        *self.root() = None;
    }

    /// Held by one at a time. Whoever finds it held asks again: strangers do not make the holders of the shares wait in line.
    fn one_at_a_time(&self) -> Result<OwnedMutexGuard<()>, CoreError> {
        Arc::clone(&self.giving).try_lock_owned().map_err(|_| CoreError::Busy)
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
    pub async fn rekey_status(&self, work: &Work) -> Result<RekeyStatus, CoreError> {
        self.unsealed()?;
        let record = self.seal_record(work).await?;
        Ok(self.rekey_status_by(&record))
    }

    fn rekey_status_by(&self, record: &SealRecord) -> RekeyStatus {
        let rekeying = self.ceremonies.rekeying();
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

    async fn seal_record(&self, work: &Work) -> Result<SealRecord, CoreError> {
        Ok(self.look(work).await?.ok_or(CoreError::NotInitialised)?.0)
    }

    /// Begins a rekeying. That of an administrator takes the place of one that nobody has given a share to.
    ///
    /// # Errors
    ///
    /// `Ceremony` where one is under way; `Sealed`, and the store's.
    pub async fn begin_rekey(
        &self,
        work: &Work,
        counts: ShareCounts,
        verifies: bool,
        beginner: Beginner,
    ) -> Result<RekeyStatus, CoreError> {
        self.unsealed()?;
        let record = self.seal_record(work).await?;
        {
            let mut rekeying = self.ceremonies.rekeying();
            let stays = |going: &Rekeying| {
                going.is_going() && !(beginner == Beginner::Administrator && going.can_be_replaced())
            };
            if rekeying.as_ref().is_some_and(stays) {
                return Err(refused("rekey already in progress"));
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

    /// Gives up a rekeying; the shares that there were stay in force. Once shares were given, that is for administrators.
    ///
    /// # Errors
    ///
    /// `Busy`; `PermissionDenied`; `Ceremony` where the new shares may be in force.
    pub fn cancel_rekey(&self, is_administrator: bool) -> Result<(), CoreError> {
        let _quiet = self.ceremonies.one_at_a_time()?;
        let mut rekeying = self.ceremonies.rekeying();
        if let Some(going) = rekeying.as_ref() {
            going.check_cancel(is_administrator)?;
        }
        *rekeying = None;
        Ok(())
    }

    /// Takes one of the shares that are in force. With the last that is needed, new ones are made. Where they are in force at
    /// once and the answer was lost, one of the shares that led to them has it told again.
    ///
    /// # Errors
    ///
    /// `WrongShare`, which leaves the progress as it is; `Ceremony` for another attempt's nonce, or where none has begun;
    /// `Busy`; the keys' and the store's.
    pub async fn rekey(
        self: &Arc<Self>,
        work: &Work,
        nonce: &str,
        share: Share,
    ) -> Result<Rekeyed, CoreError> {
        let unsealed = self.unsealed()?;
        self.check_rekey_nonce(nonce)?;
        let quiet = self.ceremonies.one_at_a_time()?;
        let record = self.seal_record(work).await?;
        let (nonce, made) = {
            let mut rekeying = self.ceremonies.rekeying();
            let rekeying = rekeying.as_mut().ok_or_else(|| refused("no rekey in progress"))?;
            if nonce != rekeying.nonce.to_string() {
                return Err(refused("the rekey was begun anew"));
            }
            match &rekeying.made {
                Some(_) if rekeying.verifies => {
                    return Err(refused("the new shares are made: give them back to rekey/verify"));
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
    fn check_rekey_nonce(&self, nonce: &str) -> Result<(), CoreError> {
        let rekeying = self.ceremonies.rekeying();
        let rekeying = rekeying.as_ref().ok_or_else(|| refused("no rekey in progress"))?;
        if nonce != rekeying.nonce.to_string() {
            return Err(refused(
                "incorrect nonce supplied; the nonce for this rekey operation is told by its start",
            ));
        }
        Ok(())
    }

    /// Goes on to its end, whether or not the caller waits for it: keys that may be in force are not forgotten.
    async fn put_in_force(
        self: &Arc<Self>,
        work: &Work,
        unsealed: Arc<Unsealed>,
        attempt: Uuid,
        made: Arc<Made>,
        quiet: OwnedMutexGuard<()>,
    ) -> Result<(), CoreError> {
        let core = Arc::clone(self);
        let before = self.ceremonies.set_state(attempt, State::Unknown);
        let before = before.ok_or_else(|| refused("the rekey was begun anew"))?;
        let work = work.clone();
        let put = offload::spawn(async move {
            let _quiet = quiet;
            let done = unsealed.barrier.rekey(&work, &made.keys).await;
            core.ceremonies.set_state(attempt, before.after(&done));
            done
        });
        Ok(put.await.unwrap_or(Err(BarrierError::Contended))?)
    }
}

fn random() -> Result<SecretKey, CoreError> {
    SecretKey::random().map_err(|error| TokenError::from(error).into())
}

fn copies(shares: &[Share]) -> Vec<Share> {
    shares.iter().filter_map(|share| Share::from_bytes(share.expose())).collect()
}
