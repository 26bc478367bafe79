//! A backup into a store that no server has open.

use std::path::Path;

use thiserror::Error;

use super::ConnectError;
use crate::{
    BackendConfig, CallContext, Durability, Generation, LoadError, Loader, Plugin, Requirement, RestoreMode,
    archive::{self, ArchiveError},
};

/// Why a backup was not restored.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The archive, or the store that was to take it.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// No plugin can be used.
    #[error(transparent)]
    Load(#[from] Box<LoadError>),
    /// The store cannot be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// What is restored would be gone when it closes.
    #[error("plugin {plugin} keeps its records in memory: a backup cannot be restored into it")]
    Volatile {
        /// Its name and version.
        plugin: String,
    },
}

impl Loader {
    /// Puts the records of an archive into a backend's store, with the newest usable version of a plugin. For
    /// a store that no server has open. Answers with which version, and how many records there were.
    ///
    /// # Errors
    ///
    /// `Load` if no plugin can be used; `Connect` if the store does not open; `Archive` if the records cannot
    /// be read or restored; `Volatile` for a store that forgets them.
    pub async fn restore_store(
        &self,
        plugin: &Requirement,
        backend: &BackendConfig,
        archive: &Path,
        mode: RestoreMode,
    ) -> Result<(Plugin, u64), RestoreError> {
        archive::verify(archive)?;
        let generation = self.open_as_it_is(plugin, backend).await?;
        let plugin = generation.plugin().clone();
        let restored = match generation.capabilities().durability {
            Durability::VOLATILE => Err(RestoreError::Volatile { plugin: plugin.descriptor().label() }),
            _ => archive::restore(&generation, archive, mode).await.map_err(RestoreError::from),
        };
        let closed = generation.shutdown(&CallContext::background()).await;
        let records = restored?;
        closed.map_err(ArchiveError::Store)?;
        Ok((plugin, records))
    }

    /// Opens a backend's store with the newest usable version of a plugin, and remembers that plugin. It
    /// ignores an earlier store in the same place. For a store that no server has open. The caller closes the
    /// generation.
    ///
    /// # Errors
    ///
    /// `Load` or `Connect`.
    pub async fn open_as_it_is(
        &self,
        plugin: &Requirement,
        backend: &BackendConfig,
    ) -> Result<Generation, RestoreError> {
        let plugin = self.first_usable(plugin, None, |admitted| self.map(admitted))?;
        let generation = self.open_store(&plugin, None, backend).await?;
        // The operator has chosen this library, so it no longer counts as set aside.
        self.history.set_aside(&backend.name, plugin.digest(), &[]);
        Ok(generation)
    }
}
