//! Making and taking away mounts.

use keyway_storage::Work;
use uuid::Uuid;

use super::{CoreError, MountControl, Unsealed};
use crate::mounts::{Mount, MountPath, Tune};

/// A mount that is to be made.
#[derive(Debug, Clone)]
pub struct NewMount {
    /// Where.
    pub path: MountPath,
    /// On which backend; none is the system's.
    pub backend: Option<String>,
    /// What it is for.
    pub description: String,
    /// Which of Vault's key-value engines: 1 or 2.
    pub kv_version: u8,
    /// Its settings for leases and listings.
    pub tune: Tune,
}

impl MountControl<'_> {
    /// Makes a mount.
    ///
    /// # Errors
    ///
    /// If the path is taken, the backend is not configured or another cluster's, and the stores'.
    pub async fn mount(self, unsealed: &Unsealed, work: &Work, new: &NewMount) -> Result<(), CoreError> {
        let backend = new.backend.as_deref().unwrap_or_else(|| self.0.backends.system.name());
        // Marked before the first record is in it.
        self.0.seal_control().admitted(unsealed, backend, work).await?;
        let mount = Mount {
            description: new.description.clone(),
            kv_version: new.kv_version,
            tune: new.tune.clone(),
            ..Mount::new(backend)
        };
        let path = new.path.clone();
        unsealed.mounts.edit(work, move |table| table.mount(&path, mount.clone())).await?;
        tracing::info!(path = new.path.as_str(), backend, "mounted");
        Ok(())
    }

    /// Gives a mount another path; answers its identity.
    ///
    /// # Errors
    ///
    /// `Configured`, and the stores'; if nothing is mounted there, and if the path is taken.
    pub async fn move_mount(
        self,
        unsealed: &Unsealed,
        work: &Work,
        from: &str,
        to: MountPath,
    ) -> Result<Uuid, CoreError> {
        for path in [from, to.as_str()] {
            if self.0.settings.mounts.contains_key(path) {
                return Err(CoreError::Configured { path: path.to_owned() });
            }
        }
        let (from, target) = (from.to_owned(), to.clone());
        let moved = unsealed.mounts.edit(work, move |table| table.move_mount(&from, &target));
        let uuid = moved.await?;
        tracing::info!(path = to.as_str(), "a mount was moved");
        Ok(uuid)
    }

    /// As [`move_mount`](Self::move_mount), for an auth method.
    ///
    /// # Errors
    ///
    /// The store's; if there is none, and if the path is taken.
    pub async fn move_auth(
        self,
        unsealed: &Unsealed,
        work: &Work,
        from: &str,
        to: MountPath,
    ) -> Result<Uuid, CoreError> {
        let (from, target) = (from.to_owned(), to.clone());
        unsealed.mounts.edit(work, move |table| table.move_auth(&from, &target)).await?;
        tracing::info!(path = to.as_str(), "an auth method was moved");
        Ok(unsealed.mounts.current().auth().get(to.as_str()).map(|mount| mount.uuid).unwrap_or_default())
    }

    /// Removes a mount with all its secrets. Later requests find nothing there. The secrets leave the store
    /// in the background; if the process ends meanwhile, this goes on after its next start.
    ///
    /// # Errors
    ///
    /// `Configured`, and the stores'. Nothing happens if nothing is mounted.
    pub async fn unmount(self, unsealed: &Unsealed, work: &Work, path: &MountPath) -> Result<(), CoreError> {
        if self.0.settings.mounts.contains_key(path.as_str()) {
            return Err(CoreError::Configured { path: path.as_str().to_owned() });
        }
        let taken_away = path.clone();
        let taken = unsealed.mounts.edit(work, move |table| Ok(table.unmount(taken_away.as_str())));
        if taken.await? {
            tracing::info!(path = path.as_str(), "unmounted");
            self.0.upkeep.task.hurry();
        }
        Ok(())
    }
}
