//! Upgrades of a backend's data format, and what there is to go back to.

use std::path::PathBuf;

use keyway_loader::{Chain, Fix, SwapError, archive, loader::StageFailure, swap::Upgraded};

use crate::core::{Core, CoreError};

/// Where backups are that are made before upgrades, in the data directory.
const BACKUPS: &str = "backups";

impl Core {
    /// Upgrades the data format of a backend, behind a backup.
    ///
    /// # Errors
    ///
    /// `NoBackend`, `NotFromPlugins`, `Swap`.
    pub async fn upgrade_backend(&self, name: &str) -> Result<Upgraded, CoreError> {
        let storage = self.backend(name)?;
        let supply = self.swaps.supply().ok_or(CoreError::NotFromPlugins)?;
        let (slot, deadlines) = (storage.slot(), supply.swaps.deadlines);
        let upgraded = supply.loader.upgrade(slot, self.backups(), deadlines).await;
        match &upgraded {
            Ok(Upgraded { from, to, backup, records, waited }) => {
                let (waited_ms, backup) = (waited.as_millis(), backup.display());
                tracing::warn!(backend = name, from, to, %backup, records, waited_ms, "data format upgraded");
            }
            Err(error) => {
                tracing::error!(backend = name, reason = %Chain(error), fix = error.fix(), "data format not upgraded");
            }
        }
        upgraded.map_err(|error| CoreError::Swap(Box::new(error)))
    }

    /// Whoever cannot go back because the data format is too new is told of the backup that was made before.
    pub(super) fn explain(&self, name: &str, error: SwapError) -> CoreError {
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
            Some(archive) => CoreError::SwapBehindUpgrade { swap, archive },
            None => CoreError::Swap(swap),
        }
    }

    fn backups(&self) -> PathBuf {
        self.settings.data_dir.join(BACKUPS)
    }

    /// The newest whole backup of a backend in a data format that is known.
    fn newest_backup(&self, name: &str, knows: u32) -> Option<PathBuf> {
        let made = |path: &PathBuf| {
            let (header, _) = archive::verify(path).ok()?;
            (header.backend == name && header.data_format <= knows).then_some(header.made)
        };
        let files = std::fs::read_dir(self.backups()).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        files.filter_map(|path| Some((made(&path)?, path))).max().map(|(_, path)| path)
    }
}
