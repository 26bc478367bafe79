//! The server between its API and its stores: its seal, and the rights of its clients.
//!
//! [`Core`] holds the parts: [`backends`], [`sealing`] with the state of an [`unsealed`] server, the state of
//! [`ceremony`] and [`swap`], and the [`tasks`] in the background.
//!
//! The other modules work on them. [`prefetch`] reads what a request needs first, [`caller`] finds out who
//! asks, [`renewal`] renews tokens, [`audit`] keeps the audit devices. [`seal`], [`unseal`] and [`password`]
//! go from sealed to unsealed and back; [`cluster`] checks which cluster the stores belong to. [`mount`] and
//! [`versioning`] change mounts. [`upkeep`], [`reencryption`] and [`presence`] run in the background;
//! [`health`] reports on all of it.

mod backends;
mod error;
mod sealing;
mod tasks;
mod unsealed;

mod audit;
pub mod caller;
pub mod ceremony;
pub mod cluster;
mod health;
mod mount;
mod parts;
mod password;
pub mod prefetch;
mod presence;
mod reencryption;
mod renewal;
mod seal;
mod swap;
mod unseal;
mod upkeep;
mod versioning;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use keyway_common::metrics::Metrics;
use keyway_loader::Backends;
use keyway_storage::{CallLimits, Storage, Work, lease::Leases};

use self::{
    backends::BackendSet,
    ceremony::attempts::Attempts,
    sealing::Sealing,
    swap::state::Swaps,
    tasks::{Presence, Task, Upkeep},
};
pub use self::{
    caller::Caller,
    cluster::ClusterIdentity,
    error::CoreError,
    health::{BackendHealth, HealthReport},
    mount::NewMount,
    parts::{AuditDevices, Ceremonies, HostSync, Housekeeping, MountControl, SealControl, Swapping},
    presence::Host,
    reencryption::Reencryption,
    renewal::Renewed,
    sealing::SealStatus,
    swap::{BackendSettings, LastSwap, PluginSource, SwapRequest, SwapSettings, Trigger},
    unsealed::Unsealed,
};
use crate::{
    audit::{Audit, AuditSettings},
    barrier::UseBound,
    mounts::{Mount, MountConfig},
    secrets::Engine,
};

/// The server's state.
pub struct Core {
    backends: BackendSet,
    settings: CoreSettings,
    known: ClusterIdentity,
    sealing: Sealing,
    audit: Audit,
    /// Held while the audit devices are changed, in the store and here.
    devices_turn: tokio::sync::Mutex<()>,
    attempts: Attempts,
    /// One password is tried at a time.
    passwords: Arc<tokio::sync::Semaphore>,
    /// Seals old records with the newest key.
    reencryption: Task,
    upkeep: Upkeep,
    presence: Presence,
    leases: Arc<Leases>,
    swaps: Swaps,
}

/// What the configuration says about it.
pub struct CoreSettings {
    /// The backend that holds keys, tokens and mounts.
    pub system_backend: String,
    /// Mounts that are made if the store does not have them.
    pub mounts: BTreeMap<String, MountConfig>,
    /// How often a key is used before it is rotated.
    pub key_uses: UseBound,
    /// How old a key becomes before it is rotated; none is any age.
    pub key_age: Option<Duration>,
    /// Where the server keeps its own files.
    pub data_dir: PathBuf,
    /// Bounds around each backend.
    pub calls: CallLimits,
    /// The audit log.
    pub audit: AuditSettings,
    /// Whether a password may unseal.
    pub passwords: bool,
}

impl Core {
    /// A sealed server over open backends.
    ///
    /// # Errors
    ///
    /// `NoBackend` if the system backend is not among them, `ReadsStale`, and if the data directory's marker
    /// cannot be read.
    pub fn new(backends: &Backends, settings: CoreSettings, metrics: &Metrics) -> Result<Self, CoreError> {
        Ok(Self {
            backends: BackendSet::new(backends, &settings.system_backend, settings.calls, metrics)?,
            known: ClusterIdentity::read(&settings.data_dir)?,
            sealing: Sealing::default(),
            audit: Audit::start(settings.audit.clone()),
            devices_turn: tokio::sync::Mutex::default(),
            attempts: Attempts::default(),
            passwords: Arc::new(tokio::sync::Semaphore::new(1)),
            reencryption: Task::default(),
            upkeep: Upkeep::default(),
            presence: Presence::default(),
            leases: Arc::default(),
            swaps: Swaps::default(),
            settings,
        })
    }

    /// The configured backends, in the order of their names.
    pub fn backends(&self) -> impl Iterator<Item = &Storage> {
        self.backends.all()
    }

    /// The names of the configured backends, in order.
    pub fn backend_names(&self) -> Vec<&str> {
        self.backends().map(Storage::name).collect()
    }

    /// Whether other hosts may have the system's store open, too.
    pub fn system_is_shared(&self) -> bool {
        self.backends.system.is_shared_by_hosts()
    }

    /// The name of the system backend's plugin; none while it is not open.
    pub fn system_plugin(&self) -> Option<String> {
        self.backends.system.plugin()
    }

    /// The audit log.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// What an unsealed server holds.
    ///
    /// # Errors
    ///
    /// `Sealed`.
    pub fn unsealed(&self) -> Result<Arc<Unsealed>, CoreError> {
        self.sealing.unsealed()
    }

    /// The engine of a mount.
    ///
    /// # Errors
    ///
    /// `NoBackend`, `SecretsLost` or `Foreign`; `Marker` or `Mounts` if the backend's marker or the mounts
    /// cannot be read or written.
    pub async fn engine<'a>(
        self: &'a Arc<Self>,
        unsealed: &'a Unsealed,
        mount: &'a Mount,
        work: &'a Work,
    ) -> Result<Engine<'a>, CoreError> {
        let storage = self.seal_control().admitted(unsealed, &mount.backend, work).await?;
        Ok(Engine::new(&unsealed.barrier, mount, storage, work))
    }

    /// Closes all backends.
    pub async fn shutdown(self: &Arc<Self>, work: &Work) {
        self.seal_control().seal();
        self.audit.drain().await;
        for backend in self.backends.all() {
            if let Err(error) = backend.shutdown(work).await {
                tracing::error!(%error, "a backend did not close");
            }
        }
    }
}
