//! Making and taking away mounts.

use super::{Core, CoreError, Unsealed};
use crate::{
    mounts::{Mount, MountPath},
    storage::RequestId,
};

/// A mount that is to be made.
#[derive(Debug, Clone)]
pub struct NewMount {
    /// Where.
    pub path: MountPath,
    /// On which backend; none is the system's.
    pub backend: Option<String>,
    /// What it is for.
    pub description: String,
}

impl Core {
    /// Makes a mount.
    ///
    /// # Errors
    ///
    /// Where the path is taken, the backend is not configured or another cluster's, and the stores'.
    pub async fn mount(
        &self,
        unsealed: &Unsealed,
        request: RequestId,
        new: &NewMount,
    ) -> Result<(), CoreError> {
        let backend = new.backend.as_deref().unwrap_or_else(|| self.system.name());
        // Marked before the first record is in it.
        self.admitted(unsealed, backend, request).await?;
        let mount = Mount { description: new.description.clone(), ..Mount::new(backend) };
        let path = new.path.clone();
        unsealed.mounts.edit(request, move |table| table.mount(&path, mount.clone())).await?;
        tracing::info!(path = new.path.as_str(), backend, "mounted");
        Ok(())
    }

    /// Takes a mount away with all its secrets. Whoever comes after this finds nothing there; the secrets leave the store
    /// in the background, and if the process ends meanwhile, after its next start.
    ///
    /// # Errors
    ///
    /// `Configured`, and the stores'. Nothing happens where nothing is mounted.
    pub async fn unmount(
        &self,
        unsealed: &Unsealed,
        request: RequestId,
        path: &MountPath,
    ) -> Result<(), CoreError> {
        if self.settings.mounts.contains_key(path.as_str()) {
            return Err(CoreError::Configured { path: path.as_str().to_owned() });
        }
        let taken_away = path.clone();
        let taken = unsealed.mounts.edit(request, move |table| Ok(table.unmount(taken_away.as_str())));
        if taken.await? {
            tracing::info!(path = path.as_str(), "unmounted");
            self.upkeep.hurry();
        }
        Ok(())
    }
}
