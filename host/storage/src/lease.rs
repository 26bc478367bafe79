//! Leases: tasks that one host at a time does for all hosts of a store, such as sealing old records again. No
//! host needs a lease to serve its clients.
//!
//! Two records make a lease. `lease/NAME` changes when a host takes it; that version is the host's *fence*.
//! For this task the host writes to the system's store only in a batch that checks that the fence still
//! stands. So a holder that was paused or cut off can write nothing after another host has taken the lease.
//!
//! `lease/NAME/beat` changes while the holder works. A host that sees neither record change for a [`TERM`],
//! by its own clock, takes the lease. Clocks of different machines are never compared for that. Neither
//! record is sealed: there is nothing secret in them.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use keyway_common::clock;
use keyway_loader::{Condition, ErrorCode, Key, Op, Put, Record, Version};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    BACKGROUND, Companion, SYSTEM_KEYSPACE, Storage, StorageError, Work,
    epoch::{self, PeerSync},
    prefetch::RecordKey,
};

/// How long a holder may say nothing.
pub const TERM: Duration = Duration::from_secs(15);
/// How often it says that it works.
const BEAT: Duration = Duration::from_secs(5);

/// What this host knows of leases.
pub struct Leases {
    /// This process: another one on the same machine is another host.
    host: Uuid,
    /// Since when each lease has looked like this.
    watched: Mutex<HashMap<&'static str, Watched>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    fence: Version,
    beat: Option<Version>,
}

struct Watched {
    look: Look,
    since: Instant,
}

/// What became of asking for a lease.
pub enum Acquired {
    /// The host has it, or needs none.
    Held(Lease),
    /// Another host has it.
    Busy,
    /// The work was done, by any host, and is due again after so long.
    Done(Duration),
}

/// A lease that this host has taken; for a store that no other host has, one that always holds.
pub struct Lease(Option<Taken>);

struct Taken {
    name: &'static str,
    id: Uuid,
    fence: Version,
}

/// Who has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holder {
    host: Uuid,
    /// Which taking of it this is.
    id: Uuid,
}

/// What the holder says of itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beat {
    /// Of which taking.
    id: Uuid,
    /// Makes each beat another record.
    number: Uuid,
    /// Whether it has ended.
    is_released: bool,
    /// When the work is due again, in Unix seconds, as far as the holder knows; zero is now.
    due: u64,
}

/// The work was broken off, because the lease is another host's by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another host has taken over what this one was doing")]
pub struct Lost;

impl Default for Leases {
    fn default() -> Self {
        Self { host: Uuid::new_v4(), watched: Mutex::default() }
    }
}

impl Leases {
    /// Asks for a lease; `patience` is how long the work may be left alone if it was done, at most.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn acquire(
        &self,
        system: &Storage,
        name: &'static str,
        patience: Duration,
    ) -> Result<Acquired, StorageError> {
        if epoch::peer_sync(system, &BACKGROUND)? != PeerSync::Epoch {
            return Ok(Acquired::Held(Lease(None)));
        }
        let (fence, beat) = (key(name), beat_key(name));
        let both = [place(&fence), place(&beat)];
        let mut stored = system.get_many(&BACKGROUND, &both).await?.into_iter();
        let (fence, beat) = (stored.next().flatten(), stored.next().flatten());
        if let Some(fence) = &fence {
            let (holder, last) = (read::<Holder>(fence), beat.as_ref().and_then(read::<Beat>));
            let released = last.filter(|last| {
                last.is_released && holder.as_ref().is_some_and(|holder| holder.id == last.id)
            });
            let is_own = holder.is_some_and(|holder| holder.host == self.host);
            let look = Look { fence: fence.version(), beat: beat.as_ref().map(Record::version) };
            if released.is_none() && !is_own && !self.is_silent(name, look) {
                return Ok(Acquired::Busy);
            }
            let due = released.map_or(0, |last| last.due).saturating_sub(clock::unix_seconds());
            // The clock of the one who did it may be wrong.
            let wait = Duration::from_secs(due).min(patience);
            if !wait.is_zero() {
                return Ok(Acquired::Done(wait));
            }
        }
        self.take(system, name, fence.as_ref(), beat.as_ref()).await
    }

    /// Whether nothing of the lease has changed for a term.
    fn is_silent(&self, name: &'static str, look: Look) -> bool {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let known = watched.entry(name).or_insert_with(|| Watched { look, since: Instant::now() });
        if known.look != look {
            *known = Watched { look, since: Instant::now() };
        }
        known.since.elapsed() >= TERM
    }

    async fn take(
        &self,
        system: &Storage,
        name: &'static str,
        fence: Option<&Record>,
        beat: Option<&Record>,
    ) -> Result<Acquired, StorageError> {
        let holder = Holder { host: self.host, id: Uuid::new_v4() };
        let condition = |stored: Option<&Record>| {
            stored.map_or(Condition::Absent, |stored| Condition::Version(stored.version()))
        };
        let (fence_key, beat_key, text) = (key(name), beat_key(name), text(&holder));
        let put = Put::new(place(&fence_key), &text).when(condition(fence));
        // Unless the one who has it has just said that it works.
        let silent = Op::check(place(&beat_key), condition(beat));
        match system.put_settled_with(&BACKGROUND, put, Companion::Check(silent)).await {
            Ok(version) => Ok(Acquired::Held(Lease(Some(Taken { name, id: holder.id, fence: version })))),
            Err(error) if error.is_lost_race() => Ok(Acquired::Busy),
            Err(error) => Err(error),
        }
    }
}

impl Lease {
    /// Runs a task, and renews the lease until the task ends. The task's writes to `system` must belong to
    /// the work that it is given: they fail after another host has taken the lease.
    ///
    /// # Errors
    ///
    /// `Lost`: another host has the lease, and the task was cancelled.
    pub async fn during<F: Future>(
        &self,
        system: &Storage,
        task: impl FnOnce(Work) -> F,
    ) -> Result<F::Output, Lost> {
        let Some(taken) = &self.0 else { return Ok(Box::pin(task(BACKGROUND.clone())).await) };
        let fence = RecordKey::of(place(&key(taken.name)));
        let task = Box::pin(task(BACKGROUND.fenced(system.slot(), fence, taken.fence)));
        tokio::select! {
            biased;
            done = task => Ok(done),
            lost = taken.beats(system) => Err(lost),
        }
    }

    /// Gives it back; the work is due again after `rest`.
    pub async fn release(self, system: &Storage, rest: Duration) {
        let Some(taken) = &self.0 else { return };
        let due = clock::unix_seconds().saturating_add(rest.as_secs());
        if let Err(error) = taken.beat(system, true, due).await {
            // Another host takes it after its term.
            tracing::debug!(%error, lease = taken.name, "a lease was not given back");
        }
    }
}

impl Taken {
    /// Says that this host works, until another has taken the lease.
    async fn beats(&self, system: &Storage) -> Lost {
        loop {
            match self.beat(system, false, 0).await {
                Err(error) if error.code() == ErrorCode::PRECONDITION_FAILED => return Lost,
                // While the store is away, no other host can take the lease either. After that the fence
                // holds.
                Ok(()) | Err(_) => tokio::time::sleep(BEAT).await,
            }
        }
    }

    async fn beat(&self, system: &Storage, is_released: bool, due: u64) -> Result<(), StorageError> {
        let text = text(&Beat { id: self.id, number: Uuid::new_v4(), is_released, due });
        let (fence, beat) = (key(self.name), beat_key(self.name));
        let stands = Op::check(place(&fence), Condition::Version(self.fence));
        system
            .put_settled_with(&BACKGROUND, Put::new(place(&beat), &text), Companion::Check(stands))
            .await
            .map(|_| ())
    }
}

fn key(name: &str) -> Vec<u8> {
    format!("lease/{name}").into_bytes()
}

fn beat_key(name: &str) -> Vec<u8> {
    format!("lease/{name}/beat").into_bytes()
}

fn place(key: &[u8]) -> Key<'_> {
    Key::new(SYSTEM_KEYSPACE, key)
}

fn text(said: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(said).expect("a lease is plain data")
}

/// None if this version does not understand the record. Its writer counts as alive while the record changes.
fn read<T: DeserializeOwned>(record: &Record) -> Option<T> {
    serde_json::from_slice(record.value()).ok()
}
