//! Mounts: which path of the API belongs to which keyspace of which backend.
//!
//! [`table`] is the table, [`auth`] the part of it that gives tokens, [`path`] what a path may be. [`Mounts`]
//! is the table of an unsealed server: one record of the system backend, changed by conditional writes alone,
//! so that hosts do not undo each other's changes.

pub mod auth;
mod methods;
pub mod path;
pub mod table;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use keyway_common::offload;
use keyway_crypto::{
    envelope::{OpenError, RecordKind},
    keyring::Record,
};
use keyway_loader::{Condition, Key, Put, Version};
use keyway_storage::{SYSTEM_KEYSPACE, StorageError, Work, epoch};
use thiserror::Error;

pub use self::{
    auth::{AuthMount, Tune},
    path::MountPath,
    table::{Leaving, Mount, MountConfig, MountTable, Upgrade},
};
use crate::barrier::{Barrier, BarrierError};

/// How often a change that loses races is tried.
const ATTEMPTS: u32 = 64;
const MOUNTS_KEY: &[u8] = b"mounts";

/// Why the table cannot be had, or not be changed.
#[derive(Debug, Error)]
pub enum MountError {
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The record does not open, or cannot be sealed.
    #[error("the table of mounts: {0}")]
    Barrier(#[from] BarrierError),
    /// The configuration contradicts the store.
    #[error(
        "mount {path:?} is on backend {stored:?}, and the configuration says {configured:?}; \
         moving a mount is a migration: write {stored:?} or configure another path"
    )]
    Moved {
        /// Which mount.
        path: String,
        /// Where it is.
        stored: String,
        /// Where the configuration wants it.
        configured: String,
    },
    /// Something is mounted there.
    #[error("path is already in use at {path}/")]
    InUse {
        /// Where.
        path: String,
    },
    /// One mount inside another would hide the paths of the outer one.
    #[error("auth/{path}/ and auth/{other}/ would hide each other's paths")]
    Hides {
        /// The path of the new auth mount.
        path: String,
        /// The path of the present one.
        other: String,
    },
    /// The text is not a path for a mount.
    #[error("{reason}")]
    BadPath {
        /// Which text, and why not.
        reason: String,
    },
    /// Other writers were faster each time.
    #[error("too many hosts change the mounts at the same time; nothing was changed")]
    Contended,
    /// The server ended.
    #[error("the change of the mounts was interrupted; it may have happened")]
    Interrupted,
    /// Nothing is mounted there any more.
    #[error("nothing is mounted at {path}/")]
    Gone {
        /// Where.
        path: String,
    },
}

/// The mounts of an unsealed server.
pub struct Mounts {
    barrier: Arc<Barrier>,
    table: RwLock<Arc<MountTable>>,
    /// Held during each edit, so that the table in use is never older than one that was acknowledged.
    editing: tokio::sync::Mutex<()>,
}

impl Mounts {
    /// The stored table, with the configured mounts added that it does not have yet.
    ///
    /// # Errors
    ///
    /// `Storage` or `Barrier` if the table cannot be read, opened or written; `Moved` if the configuration
    /// names another backend for a mount; `InUse` or `BadPath` for a configured path; `Contended` if other
    /// hosts change the mounts all the time; `Interrupted` if the server ends.
    pub async fn load(
        barrier: &Arc<Barrier>,
        work: &Work,
        configured: &BTreeMap<String, MountConfig>,
    ) -> Result<Arc<Self>, MountError> {
        let mounts = Arc::new(Self {
            barrier: Arc::clone(barrier),
            table: RwLock::default(),
            editing: tokio::sync::Mutex::default(),
        });
        let configured = configured.clone();
        mounts.edit(work, move |table| table.add_missing(&configured)).await?;
        Ok(mounts)
    }

    /// The table as this host knows it.
    pub fn current(&self) -> Arc<MountTable> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the stored table, again wherever another host was quicker, and takes it into use. Goes on to
    /// its end, whether or not the caller waits for it: a table that is stored is in use.
    ///
    /// # Errors
    ///
    /// What `edit` answers, and the store's; then nothing is changed, unless the outcome is unknown.
    pub async fn edit<T: Send + 'static>(
        self: &Arc<Self>,
        work: &Work,
        edit: impl Fn(&mut MountTable) -> Result<T, MountError> + Send + Sync + 'static,
    ) -> Result<T, MountError> {
        let mounts = Arc::clone(self);
        let work = work.clone();
        let edited = offload::spawn(async move {
            let _one_at_a_time = mounts.editing.lock().await;
            mounts.edit_stored(&work, edit).await
        });
        edited.await.unwrap_or(Err(MountError::Interrupted))
    }

    /// Takes the stored table into use, also if another host changed it.
    ///
    /// # Errors
    ///
    /// The store's.
    pub(crate) async fn refresh(self: &Arc<Self>, work: &Work) -> Result<(), MountError> {
        self.edit(work, |_| Ok(())).await
    }

    async fn edit_stored<T>(
        &self,
        work: &Work,
        edit: impl Fn(&mut MountTable) -> Result<T, MountError>,
    ) -> Result<T, MountError> {
        for _ in 0..ATTEMPTS {
            let (stored, version) = read(&self.barrier, work).await?;
            let mut table = stored.clone();
            let result = edit(&mut table)?;
            if table != stored {
                match write(&table, &self.barrier, work, version).await {
                    Ok(()) => {}
                    // Another host was quicker: begin with what it wrote.
                    Err(MountError::Storage(error)) if error.is_lost_race() => continue,
                    Err(error) => return Err(error),
                }
            }
            *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
            return Ok(result);
        }
        Err(MountError::Contended)
    }
}

async fn read(barrier: &Barrier, work: &Work) -> Result<(MountTable, Option<Version>), MountError> {
    let Some(record) = barrier.system().get(work, Key::new(SYSTEM_KEYSPACE, MOUNTS_KEY)).await? else {
        return Ok((MountTable::default(), None));
    };
    let opened = barrier.open(work, &Record::system(RecordKind::Mounts, MOUNTS_KEY), record.value()).await?;
    let table = serde_json::from_slice(&opened).map_err(|_| BarrierError::Open(OpenError::Malformed))?;
    Ok((table, Some(record.version())))
}

async fn write(
    table: &MountTable,
    barrier: &Barrier,
    work: &Work,
    version: Option<Version>,
) -> Result<(), MountError> {
    let text = serde_json::to_vec(table).expect("a table of mounts is plain data");
    let sealed = barrier.seal(work, &Record::system(RecordKind::Mounts, MOUNTS_KEY), &text).await?;
    let put = Put::new(Key::new(SYSTEM_KEYSPACE, MOUNTS_KEY), &sealed)
        .when(version.map_or(Condition::Absent, Condition::Version));
    epoch::put(barrier.system(), work, put).await?;
    Ok(())
}
