//! Leases: what one host at a time does for all that share a store, such as sealing old records anew. No host needs one to read
//! or to write for its clients.
//!
//! Two records make a lease. `lease/NAME` changes when a host takes it; that version of it is the host's *fence*: whatever the
//! host writes to the system's store for this work is written in one batch with a check that the fence still stands, so that
//! one who was paused, or cut off, and comes back behind another's taking writes nothing any more. `lease/NAME/beat` changes
//! while the holder works. Whoever sees neither change for a [`TERM`], by a clock of its own, takes the lease; clocks of
//! different machines are never compared for that.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use keyway_loader::{Condition, ErrorCode, Key, Op, Version};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    clock,
    crypto::envelope::RecordKind,
    epoch::{self, Others},
    seal::SYSTEM_KEYSPACE,
    storage::{
        ahead::Place,
        unit::{self, Fence},
    },
    system::{Held, New, Records, SystemError},
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
pub enum Asked {
    /// The host has it, or needs none.
    Held(Lease),
    /// Another host has it.
    Busy,
    /// The work was done, by whomever, so long ago.
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
    /// When the work was done, in Unix seconds; zero where it never was.
    done: u64,
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
    /// Asks for a lease; `rest` is for how long the work need not be done again.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn ask(
        &self,
        records: Records<'_>,
        name: &'static str,
        rest: Duration,
    ) -> Result<Asked, SystemError> {
        if epoch::others(records.system()) != Others::Tell {
            return Ok(Asked::Held(Lease(None)));
        }
        let held = records.get::<Holder>(RecordKind::Lease, &key(name)).await?;
        let beat = records.get::<Beat>(RecordKind::Lease, &beat_key(name)).await?;
        if let Some(held) = &held {
            let is_released = beat.as_ref().is_some_and(|beat| beat.value.is_of(held) && beat.value.is_released);
            let is_over = is_released || held.value.host == self.host;
            if !is_over && !self.is_silent(name, held, beat.as_ref()) {
                return Ok(Asked::Busy);
            }
            let done = beat.as_ref().map_or(0, |beat| beat.value.done);
            let ago = Duration::from_secs(clock::unix_seconds().saturating_sub(done));
            // A time in the future is a clock's that was set back.
            if is_released && done <= clock::unix_seconds() && ago < rest {
                return Ok(Asked::Done(ago));
            }
        }
        self.take(records, name, held.as_ref(), beat.as_ref()).await
    }

    /// Whether nothing of the lease has changed for a term.
    fn is_silent(&self, name: &'static str, held: &Held<Holder>, beat: Option<&Held<Beat>>) -> bool {
        let look = Look { fence: held.version, beat: beat.map(|beat| beat.version) };
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let known = watched.entry(name).or_insert_with(|| Watched { look, since: Instant::now() });
        if known.look != look {
            *known = Watched { look, since: Instant::now() };
        }
        known.since.elapsed() >= TERM
    }

    async fn take(
        &self,
        records: Records<'_>,
        name: &'static str,
        held: Option<&Held<Holder>>,
        beat: Option<&Held<Beat>>,
    ) -> Result<Asked, SystemError> {
        let holder = Holder { host: self.host, id: Uuid::new_v4() };
        let condition = |version: Option<Version>| version.map_or(Condition::Absent, Condition::Version);
        let (fence, beat_key) = (key(name), beat_key(name));
        let new = New { kind: RecordKind::Lease, key: &fence, value: &holder };
        // Unless the one who has it has just said that it works.
        let silent = Op::check(Key::new(SYSTEM_KEYSPACE, &beat_key), condition(beat.map(|beat| beat.version)));
        match records.put_with(&new, condition(held.map(|held| held.version)), &[silent]).await {
            Ok(version) => Ok(Asked::Held(Lease(Some(Taken { name, id: holder.id, fence: version })))),
            Err(SystemError::Storage(error)) if error.is_lost_race() => Ok(Asked::Busy),
            Err(error) => Err(error),
        }
    }
}

impl Lease {
    /// Does the work, and says meanwhile that it is being done.
    ///
    /// # Errors
    ///
    /// `Lost`: the work was broken off.
    pub async fn during<T>(&self, records: Records<'_>, work: impl Future<Output = T>) -> Result<T, Lost> {
        let Some(taken) = &self.0 else { return Ok(work.await) };
        let place = Place::of(Key::new(SYSTEM_KEYSPACE, &key(taken.name)));
        let fence = Fence::new(records.system(), place, taken.fence);
        tokio::select! {
            biased;
            done = unit::fenced(fence, work) => Ok(done),
            lost = taken.beats(records) => Err(lost),
        }
    }

    /// Gives it back; `is_done`: the work need not be done again so soon.
    pub async fn release(self, records: Records<'_>, is_done: bool) {
        let Some(taken) = &self.0 else { return };
        let done = if is_done { clock::unix_seconds() } else { 0 };
        if let Err(error) = taken.beat(records, true, done).await {
            // Others take it when its term is over.
            tracing::debug!(%error, lease = taken.name, "a lease was not given back");
        }
    }
}

impl Taken {
    /// Says that this host works, until another has taken the lease.
    async fn beats(&self, records: Records<'_>) -> Lost {
        loop {
            match self.beat(records, false, 0).await {
                Err(SystemError::Storage(error)) if error.code() == ErrorCode::PRECONDITION_FAILED => return Lost,
                // While the store is away nobody else can take it either; and behind that the fence holds.
                Ok(()) | Err(_) => tokio::time::sleep(BEAT).await,
            }
        }
    }

    async fn beat(&self, records: Records<'_>, is_released: bool, done: u64) -> Result<(), SystemError> {
        let beat = Beat { id: self.id, number: Uuid::new_v4(), is_released, done };
        let (fence, beat_key) = (key(self.name), beat_key(self.name));
        let new = New { kind: RecordKind::Lease, key: &beat_key, value: &beat };
        let stands = Op::check(Key::new(SYSTEM_KEYSPACE, &fence), Condition::Version(self.fence));
        records.put_with(&new, Condition::Any, &[stands]).await.map(|_| ())
    }
}

impl Beat {
    fn is_of(&self, held: &Held<Holder>) -> bool {
        self.id == held.value.id
    }
}

fn key(name: &str) -> Vec<u8> {
    format!("lease/{name}").into_bytes()
}

fn beat_key(name: &str) -> Vec<u8> {
    format!("lease/{name}/beat").into_bytes()
}
