//! The ceremonies that are under way, in memory.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use keyway_crypto::{
    key::SecretKey,
    shares::{Share, ShareHash, split},
};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{refusal::CeremonyRefusal, state::State};
use crate::{
    core::CoreError,
    seal::{NextKeys, SealRecord, ShareCounts},
    token::TokenError,
};

/// How long an attempt lasts without a share. After that it does not keep others from beginning one.
pub(super) const IDLE: Duration = Duration::from_secs(1_800);

/// The ceremonies that are under way.
#[derive(Default)]
pub(in crate::core) struct Attempts {
    rekeying: Mutex<Option<Rekeying>>,
    root: Mutex<Option<RootAttempt>>,
    /// Held from a given share until its outcome is known.
    giving: Arc<tokio::sync::Mutex<()>>,
}

pub(super) struct Rekeying {
    pub(super) nonce: Uuid,
    pub(super) counts: ShareCounts,
    /// Whether the new shares must be given back before they count.
    pub(super) verifies: bool,
    pub(super) given: Vec<Share>,
    /// The shares that were enough. If the new shares need no verification, the holder of one of these gets
    /// the new ones again.
    pub(super) proofs: Vec<ShareHash>,
    pub(super) made: Option<Arc<Made>>,
    pub(super) state: State,
    pub(super) touched: Instant,
}

pub(super) struct RootAttempt {
    pub(super) nonce: Uuid,
    pub(super) otp: Zeroizing<Vec<u8>>,
    pub(super) given: Vec<Share>,
    pub(super) touched: Instant,
}

/// Keys that were made, and are not in force yet.
pub(super) struct Made {
    pub(super) keys: NextKeys,
    /// None if they need not be given back.
    pub(super) verification: Option<Mutex<Verification>>,
}

/// The new shares' way back.
pub(super) struct Verification {
    pub(super) nonce: Uuid,
    pub(super) given_back: Vec<Share>,
}

impl Verification {
    pub(super) fn new() -> Self {
        Self { nonce: Uuid::new_v4(), given_back: Vec::new() }
    }
}

impl Made {
    pub(super) fn verification(&self) -> Option<MutexGuard<'_, Verification>> {
        self.verification.as_ref().map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The name of their giving back, if there is one.
    pub(super) fn verification_nonce(&self) -> Option<Uuid> {
        self.verification().map(|verification| verification.nonce)
    }
}

impl Rekeying {
    /// Whether it keeps others from beginning one.
    pub(super) fn is_going(&self) -> bool {
        match self.state {
            State::InForce => false,
            State::Unknown => true,
            State::Waiting => self.touched.elapsed() < IDLE,
        }
    }

    /// Whether an administrator's attempt may replace this one: it has no share yet.
    pub(super) fn can_be_replaced(&self) -> bool {
        self.state == State::Waiting && self.given.is_empty() && self.made.is_none()
    }

    pub(super) fn check_cancel(&self, is_administrator: bool) -> Result<(), CoreError> {
        match self.state {
            State::InForce => Ok(()),
            State::Unknown => Err(CeremonyRefusal::PerhapsInForce.into()),
            State::Waiting if is_administrator || self.can_be_replaced() => Ok(()),
            State::Waiting => Err(CoreError::PermissionDenied),
        }
    }

    /// New keys, once enough shares were given.
    pub(super) fn make(&mut self, record: &SealRecord) -> Result<Option<Arc<Made>>, CoreError> {
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

impl Attempts {
    /// Keys that may be in force.
    pub(super) fn perhaps_in_force(&self) -> Option<(Uuid, Arc<Made>)> {
        let rekeying = self.rekeying();
        let rekeying = rekeying.as_ref().filter(|rekeying| rekeying.state == State::Unknown)?;
        Some((rekeying.nonce, Arc::clone(rekeying.made.as_ref()?)))
    }

    pub(super) fn rekeying(&self) -> MutexGuard<'_, Option<Rekeying>> {
        self.rekeying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn root(&self) -> MutexGuard<'_, Option<RootAttempt>> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a holder goes on with this attempt.
    pub(super) fn touch(&self, attempt: Uuid) {
        if let Some(rekeying) = self.rekeying().as_mut().filter(|rekeying| rekeying.nonce == attempt) {
            rekeying.touched = Instant::now();
        }
    }

    /// How far this attempt's keys are from now on; how far they were, if it is still there.
    pub(super) fn set_state(&self, attempt: Uuid, next: State) -> Option<State> {
        let mut rekeying = self.rekeying();
        let rekeying = rekeying.as_mut().filter(|rekeying| rekeying.nonce == attempt)?;
        Some(std::mem::replace(&mut rekeying.state, next))
    }

    /// Nothing is under way any more, but for keys that may be in force.
    pub(in crate::core) fn forget(&self) {
        let is_quiet = self.giving.try_lock().is_ok();
        let mut rekeying = self.rekeying();
        if is_quiet && rekeying.as_ref().is_some_and(|rekeying| rekeying.state != State::Unknown) {
            *rekeying = None;
        }
        *self.root() = None;
    }

    /// Held by one request at a time. Another request fails and has to try again, so that strangers do not
    /// make the share holders wait in line.
    pub(super) fn one_at_a_time(&self) -> Result<OwnedMutexGuard<()>, CoreError> {
        Arc::clone(&self.giving).try_lock_owned().map_err(|_| CoreError::Busy)
    }
}

/// Adds a share that is not there yet.
pub(super) fn add(given: &mut Vec<Share>, share: Share, cluster: Uuid) {
    let hash = share.hash(cluster);
    if !given.iter().any(|one| one.hash(cluster).matches(&hash)) {
        given.push(share);
    }
}

fn random() -> Result<SecretKey, CoreError> {
    SecretKey::random().map_err(|error| TokenError::from(error).into())
}
