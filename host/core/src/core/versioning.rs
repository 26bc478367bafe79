//! Upgrades of mounts from KV version 1 to 2. The table of mounts says that one is under way before anything
//! is done; the upkeep does it, under its lease, and goes on with it after a restart.

use std::time::Duration;

use keyway_common::clock;
use keyway_storage::Work;
use thiserror::Error;

use super::{
    CoreError, MountControl, Unsealed,
    upkeep::{SHORT_REST, UNDER_WAY},
};
use crate::{
    mounts::{Mount, Upgrade},
    secrets::EngineError,
};

/// Why an upgrade has to wait.
#[derive(Debug, Error)]
enum UpgradeError {
    /// The mount's store or the table of mounts.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The secrets.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl MountControl<'_> {
    /// Begins to give versions to the secrets of a mount; until they have them, it does not serve.
    ///
    /// # Errors
    ///
    /// The store's, and if nothing is mounted there any more.
    pub async fn upgrade_mount(self, unsealed: &Unsealed, work: &Work, path: &str) -> Result<(), CoreError> {
        let (path, since) = (path.to_owned(), clock::unix_seconds());
        let at = path.clone();
        unsealed.mounts.edit(work, move |table| table.begin_upgrade(&path, since)).await?;
        tracing::info!(path = at, "its secrets are given versions");
        self.0.upkeep.task.hurry();
        Ok(())
    }

    /// Goes on with all upgrades; answers how long to rest, if there is more to do.
    pub(super) async fn upgrade_mounts(
        self,
        work: &Work,
        unsealed: &Unsealed,
        all: bool,
    ) -> Option<Duration> {
        let table = unsealed.mounts.current();
        let mut rest = None;
        for (path, mount) in table.iter() {
            let Some(upgrade) = mount.upgrade else { continue };
            match self.go_on_with_upgrade(work, unsealed, mount, upgrade, all).await {
                Ok(true) => tracing::info!(path, "a mount was upgraded to KV version 2"),
                Ok(false) => rest = Some(SHORT_REST),
                Err(error) => {
                    tracing::warn!(%error, path, "a mount cannot be upgraded to KV version 2 yet");
                    rest = Some(SHORT_REST);
                }
            }
        }
        rest
    }

    /// Gives versions to what has none. Once that is done the mount serves; and once no write of version 1
    /// can be under way any more, it is done for good. Whether it is.
    async fn go_on_with_upgrade(
        self,
        work: &Work,
        unsealed: &Unsealed,
        mount: &Mount,
        upgrade: Upgrade,
        all: bool,
    ) -> Result<bool, UpgradeError> {
        // Asked before anything is read.
        let is_quiet = all || clock::unix_seconds().abs_diff(upgrade.since) > UNDER_WAY.as_secs();
        let engine = self.0.engine(unsealed, mount, work).await?;
        let upgraded = engine.give_versions().await?;
        if upgraded.secrets > 0 {
            tracing::info!(mount = %mount.uuid, secrets = upgraded.secrets, "secrets have versions");
        }
        let (uuid, next) = (mount.uuid, (!is_quiet).then_some(Upgrade { serves: true, ..upgrade }));
        let edited = unsealed.mounts.edit(work, move |table| {
            table.set_upgrade(uuid, next);
            Ok(())
        });
        edited.await.map_err(CoreError::from)?;
        Ok(is_quiet)
    }
}
