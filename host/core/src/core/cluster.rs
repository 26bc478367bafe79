//! Whose stores these are. A store that was lost is not one that was never initialised, and another cluster's
//! is refused.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use keyway_loader::Version;
use keyway_storage::{Storage, Work};
use uuid::Uuid;

use super::{CoreError, SealControl, Unsealed};
use crate::{
    mounts::MountError,
    seal::{
        SealRecord,
        marker::{self, DataDirMarker, MarkerError},
    },
};

/// The cluster that the data directory knows.
pub struct ClusterIdentity {
    file: DataDirMarker,
    cluster: Mutex<Option<Uuid>>,
}

impl ClusterIdentity {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// If the marker is there and cannot be understood.
    pub fn read(data_dir: &Path) -> Result<Self, MarkerError> {
        let file = DataDirMarker::new(data_dir);
        let cluster = Mutex::new(file.read()?);
        Ok(Self { file, cluster })
    }

    fn cluster(&self) -> Option<Uuid> {
        *self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'c> SealControl<'c> {
    /// The seal record, or none if nothing was ever initialised. An empty data directory joins the cluster of
    /// its store.
    pub(super) async fn look(self, work: &Work) -> Result<Option<(SealRecord, Version)>, CoreError> {
        let loaded = SealRecord::load_versioned(&self.0.backends.system, work).await?;
        self.0.sealing.note_initialised(loaded.is_some());
        if self.0.backends.system.is_volatile() {
            return Ok(loaded);
        }
        let backend = || self.0.backends.system.name().to_owned();
        match (loaded, self.0.known.cluster()) {
            (Some((record, _)), Some(cluster)) if record.cluster_id != cluster => {
                Err(CoreError::Foreign { backend: backend(), found: record.cluster_id, cluster })
            }
            (Some((record, version)), known) => {
                if known.is_none() {
                    self.remember(record.cluster_id);
                }
                Ok(Some((record, version)))
            }
            (None, Some(cluster)) => Err(CoreError::Lost { backend: backend(), cluster }),
            (None, None) => match marker::read(&self.0.backends.system, work).await? {
                Some(found) => Err(CoreError::NotTheSystems { backend: backend(), found }),
                None => Ok(None),
            },
        }
    }

    /// Writes down which cluster this server belongs to.
    pub(super) fn remember(self, cluster: Uuid) {
        if self.0.backends.system.is_volatile() {
            return;
        }
        if let Err(error) = self.0.known.file.write(cluster) {
            // It holds for this process; the next one joins again.
            tracing::warn!(%error, "the data directory cannot remember its cluster");
        }
        *self.0.known.cluster.lock().unwrap_or_else(PoisonError::into_inner) = Some(cluster);
    }

    /// Starts over on purpose: this server, and every backend that it has, no longer belong to a cluster
    /// whose store is gone.
    ///
    /// # Errors
    ///
    /// `NotForgotten` if another cluster is known, or its store is there after all; the stores'.
    pub async fn forget_store(self, work: &Work, cluster: Uuid) -> Result<(), CoreError> {
        let refused = |reason: String| Err(CoreError::NotForgotten { cluster, reason });
        match self.0.known.cluster() {
            Some(known) if known != cluster => {
                return refused(format!("this server belongs to cluster {known}"));
            }
            None => return refused("this server belongs to no cluster; leave the option out".to_owned()),
            Some(_) => {}
        }
        let record = SealRecord::load(&self.0.backends.system, work).await?;
        if record.is_some_and(|record| record.cluster_id == cluster) {
            return refused("its store is there, and nothing is lost; leave the option out".to_owned());
        }
        for storage in self.0.backends.all() {
            if marker::remove(storage, work, cluster).await? {
                tracing::warn!(backend = storage.name(), %cluster, "the backend no longer belongs to the cluster");
            }
        }
        self.0.known.file.remove()?;
        *self.0.known.cluster.lock().unwrap_or_else(PoisonError::into_inner) = None;
        tracing::warn!(%cluster, "the cluster is forgotten");
        Ok(())
    }

    /// A backend, once its marker was seen to be this cluster's; one that was never used is marked.
    pub(super) async fn admitted(
        self,
        unsealed: &Unsealed,
        name: &str,
        work: &Work,
    ) -> Result<&'c Storage, CoreError> {
        let storage = self.0.backends.get(name)?;
        // The system backend's marker is the seal record. The server could not be unsealed without it.
        if name == self.0.backends.system.name() || storage.is_volatile() || unsealed.has_admitted(name) {
            return Ok(storage);
        }
        let cluster = unsealed.barrier.cluster();
        let backend = || name.to_owned();
        let was_used = unsealed.mounts.current().has_used(name);
        let owner = match marker::owner(storage, work).await? {
            Some(owner) if owner != cluster || was_used || self.0.backends.system.is_volatile() => owner,
            // Written again if it is there: another host may have forgotten the backend, and be about to
            // remove it.
            Some(_) => marker::claim(storage, work, cluster).await?,
            None if was_used => return Err(CoreError::SecretsLost { backend: backend(), cluster }),
            // A cluster that is gone with the process leaves no mark on others.
            None if self.0.backends.system.is_volatile() => cluster,
            None => marker::claim(storage, work, cluster).await?,
        };
        if owner != cluster {
            return Err(CoreError::Foreign { backend: backend(), found: owner, cluster });
        }
        if !was_used && !self.0.backends.system.is_volatile() {
            let used = backend();
            let marked = unsealed.mounts.edit(work, move |table| {
                table.mark_used(&used);
                Ok::<_, MountError>(())
            });
            marked.await?;
        }
        unsealed.admit(name);
        Ok(storage)
    }
}
