//! Upkeep of an unsealed server, in the background: drops the keyspaces of mounts that were removed, and
//! cleans up after changes that broke off. Every step can be repeated; a failed step is tried again.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::{Duration, Instant},
};

use keyway_common::{clock, offload};
use keyway_storage::{Work, lease::Acquired};
use tokio::sync::Notify;

use super::{Core, CoreError, Housekeeping, Unsealed};
use crate::{
    approle,
    mounts::{Leaving, MountError},
    seal::marker,
    secrets::{Engine, EngineError},
    token::Tidied,
};

const LEASE: &str = "upkeep";
/// How long it rests when there is nothing to do.
const REST: Duration = Duration::from_secs(600);
/// How long a write that began before a mount was taken away may still be under way: far longer than a
/// request may take.
pub(super) const UNDER_WAY: Duration = Duration::from_secs(4_000);
/// How long it rests when another host is at it, and there is something to do at once.
const BUSY_REST: Duration = Duration::from_secs(2);
/// How long it rests when something failed, or is too young to be swept.
pub(super) const SHORT_REST: Duration = Duration::from_secs(60);

/// The shortest pause after tokens were tidied.
const TIDY_PAUSE: Duration = Duration::from_secs(5);
/// The pause is at least this many times as long as the tidying took.
const TIDY_SHARE: u32 = 20;

/// Tidies from unsealing to sealing.
pub(super) async fn run(core: Weak<Core>, hurry: Arc<Notify>) {
    let mut is_hurried = true;
    loop {
        let rest = {
            let Some(core) = core.upgrade() else { return };
            let Ok(unsealed) = core.unsealed() else { return };
            match core.housekeeping().tidy_in_turn(&unsealed, is_hurried).await {
                Turn::Ran(rest) => {
                    is_hurried = false;
                    rest
                }
                // Urgent work is done as soon as the other host has finished.
                Turn::HeldElsewhere if is_hurried => BUSY_REST,
                Turn::HeldElsewhere => SHORT_REST,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = hurry.notified() => is_hurried = true,
        }
    }
}

/// Whose turn it was.
enum Turn {
    /// This host's, or no host's. The next turn is due after this time.
    Ran(Duration),
    /// Another's.
    HeldElsewhere,
}

impl Housekeeping<'_> {
    /// Makes upkeep run now.
    pub fn hurry(self) {
        self.0.upkeep.task.hurry();
    }

    /// Tidies, unless another host of the same store does, or has done so just now.
    async fn tidy_in_turn(self, unsealed: &Arc<Unsealed>, is_hurried: bool) -> Turn {
        let patience = if is_hurried { Duration::ZERO } else { REST };
        let lease = match self.0.leases.acquire(&self.0.backends.system, LEASE, patience).await {
            Ok(Acquired::Held(lease)) => lease,
            Ok(Acquired::Busy) => return Turn::HeldElsewhere,
            Ok(Acquired::Done(wait)) => return Turn::Ran(wait),
            Err(error) => {
                tracing::warn!(%error, "background work has to wait");
                return Turn::Ran(SHORT_REST);
            }
        };
        let tidied = async |work: Work| offload::scope(self.tidy(&work, unsealed, false)).await;
        match lease.during(&self.0.backends.system, tidied).await {
            Ok(rest) => {
                lease.release(&self.0.backends.system, rest).await;
                Turn::Ran(rest)
            }
            Err(lost) => {
                tracing::warn!(%lost, "tidying was broken off");
                Turn::HeldElsewhere
            }
        }
    }

    /// Does what there is to do, and answers how long to rest. `all` assumes that no request is under way,
    /// which is right if no other host can be at work.
    pub async fn tidy(self, work: &Work, unsealed: &Arc<Unsealed>, all: bool) -> Duration {
        let mut rest = REST;
        if let Err(error) = self.0.host_sync().keep_up(work, unsealed).await {
            tracing::warn!(%error, "what other hosts have changed cannot be read");
            return SHORT_REST;
        }
        rest = self.0.mount_control().upgrade_mounts(work, unsealed, all).await.unwrap_or(rest);
        rest = rest.min(self.tidy_access_in_turn(work, unsealed, all).await);
        if let Some(age) = self.0.settings.key_age
            && let Err(error) = unsealed.barrier.rotate_older_than(work, age).await
        {
            tracing::warn!(%error, "the key is older than it should be");
            rest = SHORT_REST;
        }
        let table = unsealed.mounts.current();
        for leaving in table.leaving() {
            match self.drop_mount(work, unsealed, leaving, all).await {
                Ok(true) => {}
                Ok(false) => rest = SHORT_REST,
                Err(error) => {
                    tracing::warn!(%error, path = leaving.path, "secrets of a mount that was taken away are still there");
                    rest = SHORT_REST;
                }
            }
        }
        for (path, mount) in table.iter() {
            let Ok(storage) = self.0.seal_control().admitted(unsealed, &mount.backend, work).await else {
                // A request for this mount gets the reason. The sweep follows when the backend is back.
                rest = SHORT_REST;
                continue;
            };
            match Engine::new(&unsealed.barrier, mount, storage, work).sweep(all).await {
                Ok(swept) => {
                    if swept.done > 0 {
                        tracing::info!(mount = path, changes = swept.done, "swept");
                    }
                    if swept.left > 0 {
                        rest = SHORT_REST;
                    }
                }
                Err(error) => {
                    report_sweep(path, &error);
                    rest = SHORT_REST;
                }
            }
        }
        rest
    }

    /// Tidies tokens, unless they were tidied just now; answers when that is due again at the latest.
    async fn tidy_access_in_turn(self, work: &Work, unsealed: &Unsealed, all: bool) -> Duration {
        let begun = Instant::now();
        let next = *self.0.upkeep.tidied_next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = next.filter(|_| !all).map(|next| next.saturating_duration_since(begun))
            && !wait.is_zero()
        {
            return wait;
        }
        let tidied = self.tidy_access(work, unsealed).await;
        // The pause keeps a client that revokes token after token from making the server go through all of
        // them each time.
        let pause = TIDY_PAUSE.max(begun.elapsed() * TIDY_SHARE);
        let next = Some(Instant::now() + pause);
        *self.0.upkeep.tidied_next.lock().unwrap_or_else(PoisonError::into_inner) = next;
        match tidied {
            Ok(()) => REST,
            Err(error) => {
                tracing::warn!(%error, "what is left of dead tokens is still there");
                SHORT_REST
            }
        }
    }

    /// Removes the records of dead tokens, of their cubbyholes, and of auth methods that were disabled.
    async fn tidy_access(self, work: &Work, unsealed: &Unsealed) -> Result<(), CoreError> {
        let tidied = unsealed.tokens(work).tidy().await?;
        if tidied != Tidied::default() {
            let Tidied { tokens, accessors, cubbyholes } = tidied;
            tracing::info!(tokens, accessors, cubbyholes, "tokens tidied");
        }
        // Only the disabled methods: a table that this host has not read again may miss a new method.
        for disabled in unsealed.mounts.current().disabled() {
            approle::forget(unsealed.records(work), disabled.uuid).await?;
            if clock::unix_seconds().abs_diff(disabled.since) > UNDER_WAY.as_secs() {
                let uuid = disabled.uuid;
                let forgotten = unsealed.mounts.edit(work, move |table| {
                    table.forget_disabled(uuid);
                    Ok(())
                });
                forgotten.await?;
                tracing::info!(%uuid, "records of an auth method that was disabled are gone");
            }
        }
        Ok(())
    }

    /// Drops the keyspace; and once no write that was under way can come any more, drops what such writes
    /// have made, and forgets that there was a mount. Whether it is forgotten.
    async fn drop_mount(
        self,
        work: &Work,
        unsealed: &Unsealed,
        leaving: &Leaving,
        all: bool,
    ) -> Result<bool, CoreError> {
        let mut is_quiet = all || clock::unix_seconds().abs_diff(leaving.since) > UNDER_WAY.as_secs();
        match self.0.seal_control().admitted(unsealed, &leaving.backend, work).await {
            Ok(storage) => {
                let dropped = storage.drop_keyspace(work, &leaving.keyspace()).await;
                if dropped.map_err(MountError::from)? {
                    let (path, backend) = (&leaving.path, &leaving.backend);
                    tracing::info!(path, backend, "the secrets of a mount that was taken away are gone");
                }
            }
            // They are gone with their store, and no request writes to it.
            Err(CoreError::SecretsLost { .. }) => is_quiet = true,
            Err(error) => return Err(error),
        }
        if !is_quiet {
            return Ok(false);
        }
        let storage = self.0.backends.get(&leaving.backend)?;
        // Read before the backend is forgotten: a later mount on it writes the marker again.
        let marker = marker::version(storage, work).await?;
        let gone = leaving.clone();
        let was_last = unsealed.mounts.edit(work, move |table| Ok(table.forget(&gone)));
        if was_last.await? {
            // The backend can be another cluster's, or this one's again.
            unsealed.dismiss(&leaving.backend);
            if let Some((owner, version)) = marker
                && owner == unsealed.barrier.cluster()
            {
                marker::remove_this(storage, work, version).await?;
            }
        }
        Ok(true)
    }
}

fn report_sweep(mount: &str, error: &EngineError) {
    tracing::warn!(%error, mount, "what broken-off changes have left is still there");
}
