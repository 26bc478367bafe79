//! Re-encryption of old records in the background: everything that is sealed with an older key is sealed with
//! the newest. How far it is stands in a record of the system's, so that it goes on after a restart.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use keyway_common::{clock, offload};
use keyway_crypto::envelope::RecordKind;
use keyway_storage::{
    BACKGROUND, Work,
    epoch::{self, PeerSync},
    lease::Acquired,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Core, CoreError, MountControl, Unsealed};
use crate::{
    barrier::Resealed,
    secrets::Engine,
    system::{Next, SystemError},
};

const KEY: &[u8] = b"reencryption";
const LEASE: &str = "reencryption";
/// How often a host looks whether there is something to do, if others may have begun it.
const LOOK: Duration = Duration::from_secs(20);
/// How long it rests when a store does not answer, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How far a re-encryption is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reencryption {
    /// Records that an earlier key has sealed are sealed again.
    pub key: u32,
    /// When it began, in RFC 3339.
    pub started: String,
    /// When it came to its end, or was ended, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Whether a client ended it.
    #[serde(default)]
    pub is_cancelled: bool,
    /// Secrets, and records of the system's, that were looked at.
    pub seen: u64,
    /// Records that were sealed again.
    pub sealed: u64,
    /// Secrets, and records of the system's, that could not be.
    pub failed: u64,
    /// What it waits for, if a store does not serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    at: Position,
    /// Mounts whose stores did not serve: they come last.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    left: BTreeSet<Uuid>,
}

/// Where it goes on: first the system's own records, then the mounts by their UUIDs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    /// Nil is the system.
    mount: Uuid,
    /// The key after which it resumes, in Base64.
    after: String,
}

impl Reencryption {
    /// Whether it is under way.
    pub fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    fn new(key: u32) -> Self {
        let (started, at) = (clock::now(), Position::default());
        Self {
            key,
            started,
            ended: None,
            is_cancelled: false,
            seen: 0,
            sealed: 0,
            failed: 0,
            waiting_for: None,
            at,
            left: BTreeSet::new(),
        }
    }

    /// Whether it stands as it did, so that no other host has continued it.
    fn is_same_as(&self, other: &Self) -> bool {
        (self.key, &self.started, &self.at) == (other.key, &other.started, &other.at)
    }
}

/// Waits from unsealing to sealing for something to do. It can be aborted between any two steps.
pub(super) async fn run(core: Weak<Core>, hurry: Arc<Notify>) {
    loop {
        let Some(rest) = in_turn(&core).await else { return };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = hurry.notified() => {}
        }
    }
}

/// Goes on with one that is under way, unless another host does; answers how long to rest, and nothing at the end.
async fn in_turn(core: &Weak<Core>) -> Option<Duration> {
    let (system, leases, nothing_to_do) = {
        let core = core.upgrade()?;
        // Another host may begin one, or leave one.
        let rest = if epoch::peer_sync(&core.backends.system, &BACKGROUND)
            .is_ok_and(|others| others != PeerSync::Epoch)
        {
            Duration::MAX
        } else {
            LOOK
        };
        match core.mount_control().reencryption(&BACKGROUND).await {
            Ok(Some(present)) if present.is_running() => {}
            Ok(_) => return Some(rest),
            Err(CoreError::Sealed) => return None,
            Err(error) => {
                tracing::warn!(%error, "whether old records are to be sealed again is not known");
                return Some(LOOK);
            }
        }
        (core.backends.system.clone(), Arc::clone(&core.leases), rest)
    };
    let lease = match leases.acquire(&system, LEASE, Duration::ZERO).await {
        Ok(Acquired::Held(lease)) => lease,
        Ok(Acquired::Busy | Acquired::Done(_)) => return Some(LOOK),
        Err(error) => {
            tracing::warn!(%error, "the re-encryption has to wait");
            return Some(LOOK);
        }
    };
    match lease.during(&system, async |work| reencrypt(core, &work).await).await {
        Ok(Some(())) => {
            lease.release(&system, Duration::ZERO).await;
            Some(nothing_to_do)
        }
        Ok(None) => None,
        Err(lost) => {
            tracing::warn!(%lost, "the re-encryption was broken off");
            Some(LOOK)
        }
    }
}

/// Does part after part, to the end; nothing if the server was sealed before.
async fn reencrypt(core: &Weak<Core>, work: &Work) -> Option<()> {
    let mut retry = RETRY.0;
    loop {
        let begun = Instant::now();
        let rest = {
            let core = core.upgrade()?;
            let unsealed = core.unsealed().ok()?;
            match offload::scope(core.mount_control().reencrypt_part(work, &unsealed)).await {
                Ok(Part::Last) => return Some(()),
                // As long as it took: half of the store's time is left to the requests.
                Ok(Part::Done) => {
                    retry = RETRY.0;
                    begun.elapsed()
                }
                Ok(Part::Waits) => {
                    retry = (retry * 2).min(RETRY.1);
                    retry
                }
                Err(error) => {
                    tracing::warn!(%error, "the re-encryption has to wait");
                    retry = (retry * 2).min(RETRY.1);
                    retry
                }
            }
        };
        tokio::time::sleep(rest).await;
    }
}

impl MountControl<'_> {
    /// How far the last re-encryption is; none if there was none.
    ///
    /// # Errors
    ///
    /// `Sealed`, and the store's.
    pub async fn reencryption(self, work: &Work) -> Result<Option<Reencryption>, CoreError> {
        let unsealed = self.0.unsealed()?;
        let held = unsealed.records(work).get(RecordKind::Reencryption, KEY).await?;
        Ok(held.map(|held| held.value))
    }

    /// Begins to seal old records again with the newest key. If that is under way for this key, it goes on.
    ///
    /// # Errors
    ///
    /// `Sealed`, and the store's.
    pub async fn begin_reencryption(self, work: &Work) -> Result<Reencryption, CoreError> {
        let unsealed = self.0.unsealed()?;
        // Another host may have made a newer one.
        unsealed.barrier().read_again(work).await?;
        let key = unsealed.barrier().key_use().key;
        let begun = unsealed
            .records(work)
            .change(RecordKind::Reencryption, KEY, |present: Option<Reencryption>| {
                let running = present.filter(|present| present.is_running() && present.key >= key);
                let next = running.clone().unwrap_or_else(|| Reencryption::new(key));
                let change = if running.is_some() { Next::Keep } else { Next::Put(next.clone()) };
                Ok::<_, SystemError>((change, next))
            })
            .await?;
        tracing::info!(key, "records that are sealed with older keys are sealed again");
        self.0.reencryption.hurry();
        Ok(begun)
    }

    /// Ends the one that is under way; what it has done stays done.
    ///
    /// # Errors
    ///
    /// `Sealed`, and the store's.
    pub async fn cancel_reencryption(self, work: &Work) -> Result<(), CoreError> {
        let cancelled = |present: Option<Reencryption>| {
            let running = present.filter(Reencryption::is_running);
            let ended = |running| Reencryption { ended: Some(clock::now()), is_cancelled: true, ..running };
            Ok::<_, SystemError>((running.map_or(Next::Keep, |running| Next::Put(ended(running))), ()))
        };
        Ok(self.0.unsealed()?.records(work).change(RecordKind::Reencryption, KEY, cancelled).await?)
    }

    /// Does the next part.
    ///
    /// # Errors
    ///
    /// The store's.
    pub(crate) async fn reencrypt_part(
        self,
        work: &Work,
        unsealed: &Arc<Unsealed>,
    ) -> Result<Part, CoreError> {
        let held = unsealed.records(work).get::<Reencryption>(RecordKind::Reencryption, KEY).await?;
        let Some(present) = held.map(|held| held.value).filter(Reencryption::is_running) else {
            return Ok(Part::Last);
        };
        // It may have been begun on another host, with a key that this one has not seen yet, and there may be
        // other mounts.
        self.0.host_sync().keep_up(work, unsealed).await?;
        let after = BASE64.decode(present.at.after.as_bytes()).unwrap_or_default();
        let mount = present.at.mount;
        let part = if mount.is_nil() {
            // Without the system's own store nothing can be done at all.
            Ok(Some(unsealed.records(work).reencrypt(present.key, &after).await?))
        } else {
            self.reencrypt_mount(work, unsealed, &present, &after).await
        };
        let (resealed, waiting_for) = match part {
            Ok(resealed) => (resealed.unwrap_or_default(), None),
            // Another mount's store may serve.
            Err(error) => (Resealed::default(), Some(error.to_string())),
        };
        let mut left = present.left.clone();
        if let Some(reason) = &waiting_for {
            tracing::warn!(reason, "a mount's records are sealed again later");
            left.insert(mount);
        }
        let mounts: Vec<Uuid> = unsealed.mounts.current().iter().map(|(_, mount)| mount.uuid).collect();
        let behind = mounts.iter().copied().filter(|uuid| *uuid > mount).min();
        let first = |mount| Position { mount, after: String::new() };
        let (place, is_round_over) = match (&resealed.next, behind) {
            (Some(after), _) => (Some(Position { mount, after: BASE64.encode(after) }), false),
            (None, Some(next)) => (Some(first(next)), false),
            // The mounts that were left, if they still exist.
            (None, None) => {
                let again = left.iter().copied().find(|uuid| mounts.contains(uuid));
                (again.map(first), true)
            }
        };
        if let Some(place) = place.as_ref().filter(|_| is_round_over) {
            left.remove(&place.mount);
        }
        let changed = |stored: Option<Reencryption>| {
            // It is another re-encryption, another host has done this part, or it was ended meanwhile.
            let Some(stored) = stored.filter(|stored| stored.is_running() && stored.is_same_as(&present))
            else {
                return Ok::<_, SystemError>((Next::Keep, None));
            };
            let next = Reencryption {
                seen: stored.seen + resealed.seen,
                sealed: stored.sealed + resealed.sealed,
                failed: stored.failed + resealed.failed,
                ended: place.is_none().then(clock::now),
                waiting_for: if place.is_none() { None } else { waiting_for.clone().or(stored.waiting_for) },
                at: place.clone().unwrap_or_default(),
                left: left.clone(),
                ..stored
            };
            Ok((Next::Put(next.clone()), Some(next)))
        };
        let now = unsealed.records(work).change(RecordKind::Reencryption, KEY, changed).await?;
        let Some(now) = now else { return Ok(Part::Done) };
        if now.is_running() {
            return Ok(if is_round_over { Part::Waits } else { Part::Done });
        }
        let (seen, sealed, failed) = (now.seen, now.sealed, now.failed);
        tracing::info!(key = now.key, seen, sealed, failed, "old records are sealed again");
        Ok(Part::Last)
    }

    /// A part of the mount that it is at; none if that was taken away meanwhile.
    async fn reencrypt_mount(
        self,
        work: &Work,
        unsealed: &Unsealed,
        present: &Reencryption,
        after: &[u8],
    ) -> Result<Option<Resealed>, CoreError> {
        let table = unsealed.mounts.current();
        let found = table.iter().find(|(_, mount)| mount.uuid == present.at.mount);
        let Some((path, mount)) = found else { return Ok(None) };
        let storage = self.0.seal_control().admitted(unsealed, &mount.backend, work).await?;
        let engine = Engine::new(&unsealed.barrier, mount, storage, work);
        let resealed = engine.reencrypt(present.key, after).await;
        let failed = |error| CoreError::Reencryption { mount: path.to_owned(), source: Box::new(error) };
        resealed.map(Some).map_err(failed)
    }
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It is done, and there are others.
    Done,
    /// The rest waits for its stores.
    Waits,
    /// There is nothing left.
    Last,
}
