//! Upgrades of a backend's data format, and what there is to go back to.

use std::{path::PathBuf, sync::Arc};

use keyway_common::clock;
use keyway_loader::{Chain, Fix, SwapError, archive, loader::StageFailure, swap::Upgraded};
use keyway_storage::Storage;
use tokio::task::JoinError;

use super::{LastSwap, PluginSource, Trigger};
use crate::core::{CoreError, Swapping};

/// Where backups are that are made before upgrades, in the data directory.
const BACKUPS: &str = "backups";

impl Swapping<'_> {
    /// Upgrades the data format of a backend, after a backup.
    ///
    /// # Errors
    ///
    /// `NoBackend`, `NotFromPlugins`, `Upgrade`.
    pub async fn upgrade(self, name: &str) -> Result<Upgraded, CoreError> {
        let storage = self.0.backends.get(name)?.clone();
        let source = self.0.swaps.source().ok_or(CoreError::NotFromPlugins)?;
        let core = Arc::clone(self.0);
        // The upgrade goes on to its end, even if the client stops waiting.
        let upgrading =
            tokio::spawn(async move { core.swapping().upgrade_to_the_end(&storage, &source).await });
        let broken = |error: JoinError| SwapError::Interrupted { reason: error.to_string() };
        let upgraded = upgrading.await.unwrap_or_else(|error| Err(broken(error)));
        upgraded.map_err(|error| CoreError::Upgrade(Box::new(error)))
    }

    async fn upgrade_to_the_end(
        self,
        storage: &Storage,
        source: &PluginSource,
    ) -> Result<Upgraded, SwapError> {
        let (name, deadlines) = (storage.name(), source.swaps.deadlines);
        let upgraded = source.loader.upgrade(storage.slot(), self.backups(), deadlines).await;
        let (outcome, detail) = match &upgraded {
            Ok(Upgraded { from, to, backup, records, waited }) => {
                let (waited_ms, backup) = (waited.as_millis(), backup.display());
                tracing::warn!(backend = name, from, to, %backup, records, waited_ms, "data format upgraded");
                ("upgraded", format!("data format {from} → {to}"))
            }
            Err(error) => {
                let reason = Chain(error).to_string();
                tracing::error!(backend = name, reason, fix = error.fix(), "data format not upgraded");
                (if error.is_loss() { "lost" } else { "failed" }, reason)
            }
        };
        self.0.swaps.note(name, LastSwap { time: clock::now(), by: Trigger::Request, outcome, detail });
        upgraded
    }

    /// If a roll back fails because the data format is too new, the error names the backup that was made
    /// before.
    pub(super) fn explain(self, name: &str, error: SwapError) -> CoreError {
        let knows = match &error {
            SwapError::Previous { failure, .. } => match &**failure {
                StageFailure::Format { plugin, .. } => Some(*plugin),
                _ => None,
            },
            _ => None,
        };
        let archive = knows.and_then(|knows| self.newest_backup(name, knows));
        let swap = Box::new(error);
        match archive {
            Some(archive) => CoreError::SwapAfterUpgrade { swap, archive },
            None => CoreError::Swap(swap),
        }
    }

    fn backups(self) -> PathBuf {
        self.0.settings.data_dir.join(BACKUPS)
    }

    /// The newest backup of a backend in a data format that is known.
    fn newest_backup(self, name: &str, knows: u32) -> Option<PathBuf> {
        let made = |path: &PathBuf| {
            let header = archive::describe(path).ok()?;
            (header.backend == name && header.data_format <= knows).then_some(header.made)
        };
        let files = std::fs::read_dir(self.backups()).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        files.filter_map(|path| Some((made(&path)?, path))).max().map(|(_, path)| path)
    }
}
