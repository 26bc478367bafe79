//! The state of an unsealed server: its keys, and its caches of the stores.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use keyway_common::offload;
use keyway_loader::Key;
use keyway_storage::{SYSTEM_KEYSPACE, Work, epoch::Epoch, prefetch::RecordKey};

use crate::{
    barrier::Barrier,
    mounts::Mounts,
    policy::{
        Acl, Policies, PolicyError,
        store::{Cas, PolicyText},
    },
    system::Records,
    token::{Live, TokenName, Tokens},
};

/// The most ancestors of a token that are read together with it.
const MOST_ANCESTORS: usize = 5;
/// The most tokens whose ancestors are known.
const MOST_LINEAGES: usize = 4_096;

/// What an unsealed server holds. Requests keep it for as long as they run.
pub struct Unsealed {
    pub(super) barrier: Arc<Barrier>,
    pub(super) mounts: Arc<Mounts>,
    pub(super) policies: Policies,
    /// Backends whose markers were seen to be this cluster's.
    admitted: Mutex<HashSet<String>>,
    /// What other hosts have changed, as far as is known.
    pub(super) seen: EpochTracker,
    pub(super) lineages: Lineages,
}

/// Which changes of other hosts this one knows.
#[derive(Default)]
pub(super) struct EpochTracker {
    known: Mutex<KnownEpoch>,
    /// Held while this host takes over changes of other hosts.
    pub(super) turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct KnownEpoch {
    /// None before the first request.
    epoch: Option<Epoch>,
    /// When the last taking over began that came to its end.
    begun: Option<Instant>,
}

impl EpochTracker {
    fn known(&self) -> MutexGuard<'_, KnownEpoch> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is(&self, epoch: &Epoch) -> bool {
        self.known().epoch.as_ref() == Some(epoch)
    }

    /// Whether a request that began after this has read everything again.
    pub(super) fn is_newer_than(&self, read: Instant) -> bool {
        self.known().begun.is_some_and(|begun| begun >= read)
    }

    pub(super) fn set(&self, epoch: Epoch, begun: Instant) {
        *self.known() = KnownEpoch { epoch: Some(epoch), begun: Some(begun) };
    }
}

/// Tokens that were found alive, and where their ancestors lie: these never change. Whether all of them live
/// is read each time.
#[derive(Default)]
pub(super) struct Lineages(Mutex<HashMap<TokenName, Arc<[RecordKey]>>>);

impl Lineages {
    fn known(&self) -> MutexGuard<'_, HashMap<TokenName, Arc<[RecordKey]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, name: &TokenName) -> Option<Arc<[RecordKey]>> {
        self.known().get(name).cloned()
    }

    fn learn(&self, live: &Live) {
        let ancestors = &live.entry.ancestors;
        let mut known = self.known();
        if ancestors.len() > MOST_ANCESTORS || known.contains_key(&live.name) {
            return;
        }
        if known.len() >= MOST_LINEAGES {
            known.clear();
        }
        known.insert(
            live.name.clone(),
            ancestors.iter().map(|ancestor| token_record(&ancestor.name)).collect(),
        );
    }

    fn forget(&self, name: &TokenName) {
        self.known().remove(name);
    }
}

pub(super) fn token_record(token: &TokenName) -> RecordKey {
    RecordKey::of(Key::new(SYSTEM_KEYSPACE, &token.key()))
}

impl Unsealed {
    /// Of these keys and mounts; nothing else is known yet.
    pub(super) fn new(barrier: Arc<Barrier>, mounts: Arc<Mounts>) -> Self {
        Self {
            barrier,
            mounts,
            policies: Policies::default(),
            admitted: Mutex::default(),
            seen: EpochTracker::default(),
            lineages: Lineages::default(),
        }
    }

    /// The keys.
    pub fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// The policies.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The mounts.
    pub fn mounts(&self) -> &Arc<Mounts> {
        &self.mounts
    }

    /// Writes a policy; from then on it counts for every request that begins. Goes on to its end, whether or
    /// not the caller waits for it: a policy that is stored is in force.
    ///
    /// # Errors
    ///
    /// As [`Policies::put`](crate::policy::store::Policies::put); `Interrupted` if the server ends.
    pub async fn put_policy(
        self: &Arc<Self>,
        work: &Work,
        name: String,
        written: PolicyText,
        cas: Cas,
    ) -> Result<(), PolicyError> {
        let (unsealed, work) = (Arc::clone(self), work.clone());
        let put = async move { unsealed.policies.put(unsealed.records(&work), &name, &written, cas).await };
        offload::spawn(put).await.unwrap_or(Err(PolicyError::Interrupted))
    }

    /// Removes a policy, in the same way.
    ///
    /// # Errors
    ///
    /// As [`Policies::remove`](crate::policy::store::Policies::remove); `Interrupted` if the server ends.
    pub async fn remove_policy(self: &Arc<Self>, work: &Work, name: String) -> Result<(), PolicyError> {
        let (unsealed, work) = (Arc::clone(self), work.clone());
        let removed = async move { unsealed.policies.remove(unsealed.records(&work), &name).await };
        offload::spawn(removed).await.unwrap_or(Err(PolicyError::Interrupted))
    }

    /// The tokens, for one request.
    pub fn tokens<'a>(&'a self, work: &'a Work) -> Tokens<'a> {
        Tokens::new(&self.barrier, work, self.mounts.current())
    }

    /// The system's records, for one request.
    pub fn records<'a>(&'a self, work: &'a Work) -> Records<'a> {
        Records::new(&self.barrier, work)
    }

    /// What these policies allow together.
    ///
    /// # Errors
    ///
    /// `System` if a policy's record cannot be read or opened; `Malformed` if its text cannot be understood.
    pub async fn acl(&self, work: &Work, policies: &[String]) -> Result<Arc<Acl>, PolicyError> {
        Ok(self.policies.acl(self.records(work), policies).await?.acl)
    }

    /// Remembers a token that is alive, and what the next request with it reads first.
    pub(super) fn learn(&self, live: &Live) {
        self.lineages.learn(live);
    }

    /// A token that is not alive.
    pub(super) fn unlearn(&self, token: &TokenName) {
        self.lineages.forget(token);
    }

    pub(super) fn has_admitted(&self, backend: &str) -> bool {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner).contains(backend)
    }

    /// Looks again at the markers of backends that another host has forgotten.
    pub(super) fn keep_admitted(&self) {
        let table = self.mounts.current();
        self.admitted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|backend| table.has_used(backend));
    }

    /// The next use looks at the marker again.
    pub(super) fn dismiss(&self, backend: &str) {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner).remove(backend);
    }

    pub(super) fn admit(&self, backend: &str) {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner).insert(backend.to_owned());
    }
}
