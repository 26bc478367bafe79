//! What the server is between its edge and its stores: sealed or not, and who may do what.
//!
//! [`arrival`] is what is read when a request comes, [`caller`] is who asks, [`renewal`] prolongs tokens, [`audit`] knows the audit devices that were added.
//! [`unseal`] gathers shares, [`password`] is another way, [`ceremony`] is what else their holders do. [`cluster`] knows whose stores
//! these are, [`mount`] makes and takes away mounts, [`upkeep`] does what is left to be done behind them, [`reencryption`] seals old
//! records anew, [`swap`] has another generation of a backend serve.

pub mod arrival;
mod audit;
pub mod caller;
pub mod ceremony;
pub mod cluster;
mod error;
mod mount;
mod password;
mod presence;
mod reencryption;
mod renewal;
mod swap;
mod unseal;
mod upkeep;
mod versioning;

use keyway_common::metrics::Metrics;
use keyway_loader::{Backends, Down, Grant, Health, Slot};
use keyway_storage::{CallLimits, CallMetrics, Storage, StorageError, Work, lease::Leases};
use uuid::Uuid;

pub use self::{
    caller::Caller,
    cluster::Known,
    error::CoreError,
    mount::NewMount,
    presence::Host,
    reencryption::Reencryption,
    renewal::Renewed,
    swap::{BackendSettings, LastSwap, Supply, SwapRequest, SwapSettings},
};

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use self::{
    arrival::{Lineages, Seen},
    ceremony::Ceremonies,
    presence::Presence,
    reencryption::Reencrypter,
    swap::Swaps,
    unseal::Progress,
    upkeep::Upkeep,
};
use crate::{
    audit::{Audit, AuditSettings},
    barrier::{Barrier, UseBound},
    mounts::{Mount, MountConfig, Mounts},
    policy::Policies,
    seal::{Initialised, SealRecord, SealRecordError, ShareCounts, initialise},
    secrets::Engine,
};

/// The server's state.
pub struct Core {
    system: Storage,
    backends: HashMap<String, Storage>,
    settings: CoreSettings,
    known: Known,
    unsealed: RwLock<Option<Arc<Unsealed>>>,
    progress: Mutex<Progress>,
    audit: Audit,
    /// Held while the audit devices are changed, in the store and here.
    devices_turn: tokio::sync::Mutex<()>,
    ceremonies: Ceremonies,
    /// One password is tried at a time.
    passwords: Arc<tokio::sync::Semaphore>,
    reencrypter: Reencrypter,
    upkeep: Upkeep,
    presence: Presence,
    leases: Arc<Leases>,
    swaps: Swaps,
    /// What the seal record said last, for an unsealed server whose store is away.
    seal_seen: Mutex<Option<SealStatus>>,
    /// Whether the store was seen to hold a cluster.
    is_seen: AtomicBool,
}

/// What the configuration says about it.
pub struct CoreSettings {
    /// The backend that holds keys, tokens and mounts.
    pub system_backend: String,
    /// Mounts that are made where the store does not have them.
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

/// What an unsealed server holds. Requests keep it for as long as they run.
pub struct Unsealed {
    barrier: Arc<Barrier>,
    mounts: Arc<Mounts>,
    policies: Policies,
    /// Backends whose markers were seen to be this cluster's.
    admitted: Mutex<HashSet<String>>,
    /// What other hosts have changed, as far as is known.
    seen: Seen,
    lineages: Lineages,
}

/// How far the seal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealStatus {
    /// Whether there is a cluster.
    pub initialised: bool,
    /// Whether the keys are out of reach.
    pub sealed: bool,
    /// How many shares unseal; zero without a cluster.
    pub threshold: u8,
    /// How many shares there are; zero without a cluster.
    pub shares: u8,
    /// How many have been given.
    pub progress: usize,
    /// The name of this attempt to unseal; empty where none has begun.
    pub nonce: String,
    /// The cluster, where there is one and it is unsealed.
    pub cluster: Option<Uuid>,
}

/// How the server is doing.
pub struct HealthReport {
    /// The seal; an error where it cannot be known, and none where the system backend does not answer anyway.
    pub seal: Option<Result<SealStatus, CoreError>>,
    /// What each backend says of itself.
    pub storage: Vec<BackendHealth>,
    /// Whether there is an audit device that accepts lines, where there are devices.
    pub audits: bool,
    /// Whether the store was seen to hold a cluster since the server began.
    pub was_initialised: bool,
}

/// How a backend is doing.
pub struct BackendHealth {
    /// Its name.
    pub backend: String,
    /// What it says of itself.
    pub health: Result<Health, StorageError>,
    /// Why it is not open; none where it is.
    pub down: Option<Down>,
    /// Whether it was opened with another plugin than the one that the configuration asks for.
    pub fell_back: bool,
    /// Whether nobody has checked its plugin.
    pub unchecked: bool,
}

impl BackendHealth {
    async fn of(storage: &Storage, work: &Work) -> Self {
        let open = storage.generation();
        Self {
            backend: storage.name().to_owned(),
            fell_back: open.as_ref().is_ok_and(|open| open.fallback().is_some()),
            unchecked: open.as_ref().is_ok_and(|open| open.plugin().grant() == Some(&Grant::Unchecked)),
            down: open.err(),
            health: storage.health(work).await,
        }
    }

    /// Whether it reads and writes.
    pub fn is_ready(&self) -> bool {
        self.health.as_ref().is_ok_and(Health::is_ready)
    }
}

impl Core {
    /// A sealed server over open backends.
    ///
    /// # Errors
    ///
    /// `NoBackend` where the system backend is not among them, `ReadsStale`, and where the data directory's marker cannot
    /// be read.
    pub fn new(backends: &Backends, settings: CoreSettings, metrics: &Metrics) -> Result<Self, CoreError> {
        let calls = CallMetrics::new(metrics);
        let storage = |slot: &Arc<Slot>| {
            Storage::guarded(Arc::clone(slot), settings.calls, calls.backend(slot.backend()))
        };
        let backends: HashMap<String, Storage> =
            backends.iter().map(|slot| (slot.backend().to_owned(), storage(slot))).collect();
        let system = backends.get(&settings.system_backend).cloned();
        let system =
            system.ok_or_else(|| CoreError::NoBackend { backend: settings.system_backend.clone() })?;
        if let Some(stale) = backends.values().find(|storage| storage.may_read_stale()) {
            return Err(CoreError::ReadsStale { backend: stale.name().to_owned() });
        }
        Ok(Self {
            known: Known::read(&settings.data_dir)?,
            system,
            backends,
            unsealed: RwLock::new(None),
            progress: Mutex::default(),
            audit: Audit::start(settings.audit.clone()),
            devices_turn: tokio::sync::Mutex::default(),
            ceremonies: Ceremonies::default(),
            passwords: Arc::new(tokio::sync::Semaphore::new(1)),
            reencrypter: Reencrypter::default(),
            upkeep: Upkeep::default(),
            presence: Presence::default(),
            leases: Arc::default(),
            seal_seen: Mutex::default(),
            is_seen: AtomicBool::new(false),
            swaps: Swaps::default(),
            settings,
        })
    }

    /// The configured backends, by name.
    pub fn backends(&self) -> impl Iterator<Item = &Storage> {
        self.backend_names().into_iter().filter_map(|name| self.backends.get(name))
    }

    /// The names of the configured backends, in order.
    pub fn backend_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.backends.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Whether other hosts may have the system's store open, too.
    pub fn system_is_shared(&self) -> bool {
        self.system.is_shared_by_hosts()
    }

    /// The name of the system backend's plugin; none while it is not open.
    pub fn system_plugin(&self) -> Option<String> {
        self.system.plugin()
    }

    /// Makes a cluster.
    ///
    /// # Errors
    ///
    /// See [`InitError`](crate::seal::InitError).
    pub async fn init(
        &self,
        work: &Work,
        counts: ShareCounts,
        repeat: bool,
    ) -> Result<Initialised, CoreError> {
        // What is lost or another's is not to be initialised.
        self.look(work).await?;
        let initialised = initialise(&self.system, work, counts, repeat).await?;
        // Shares that were given before are void.
        self.progress().void();
        self.remember(initialised.cluster);
        tracing::info!(cluster = %initialised.cluster, "cluster initialised");
        Ok(initialised)
    }

    /// How far the seal is. A server that is unsealed says so while its store is away.
    ///
    /// # Errors
    ///
    /// When the seal record is not there or another's, or cannot be read and the server is sealed.
    pub async fn seal_status(&self, work: &Work) -> Result<SealStatus, CoreError> {
        match self.look(work).await {
            Ok(looked) => {
                let record = looked.as_ref().map(|(record, _)| record);
                if let Some(record) = record {
                    self.seal_if_rekeyed(work, record).await?;
                }
                Ok(self.status_of(record))
            }
            // A store that answers, and has lost the record or another's, is no store that is away.
            Err(error @ CoreError::SealRecord(SealRecordError::Storage(_))) => {
                self.seal_seen().clone().filter(|_| self.unsealed().is_ok()).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// A host whose keys were changed on another says that it is sealed, though nobody has asked it for anything else.
    async fn seal_if_rekeyed(&self, work: &Work, record: &SealRecord) -> Result<(), CoreError> {
        let Ok(unsealed) = self.unsealed() else { return Ok(()) };
        if unsealed.barrier.has_keys_of(record) {
            return Ok(());
        }
        // Unless it is this host that changes them.
        match self.read_keys_again(&unsealed, work).await {
            Err(CoreError::Sealed) => Ok(()),
            read => read,
        }
    }

    fn seal_seen(&self) -> MutexGuard<'_, Option<SealStatus>> {
        self.seal_seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the keys out of reach. Requests that run end with the keys that they have.
    pub fn seal(&self) {
        self.seal_when(|_| true);
    }

    /// Puts these keys out of reach, unless others have taken their place; whether it did.
    fn seal_this(&self, unsealed: &Arc<Unsealed>) -> bool {
        self.seal_when(|present| present.is_some_and(|present| Arc::ptr_eq(present, unsealed)))
    }

    fn seal_when(&self, is_meant: impl FnOnce(Option<&Arc<Unsealed>>) -> bool) -> bool {
        // Both under the lock of the progress, so that no unsealing that began before comes after.
        let mut progress = self.progress();
        let mut present = self.unsealed.write().unwrap_or_else(PoisonError::into_inner);
        if !is_meant(present.as_ref()) {
            return false;
        }
        *present = None;
        drop(present);
        progress.void();
        self.upkeep.end();
        self.presence.end();
        self.reencrypter.end();
        self.ceremonies.forget();
        self.audit.have(&[]);
        drop(progress);
        tracing::info!("sealed");
        true
    }

    /// What an unsealed server holds.
    ///
    /// # Errors
    ///
    /// `Sealed`.
    pub fn unsealed(&self) -> Result<Arc<Unsealed>, CoreError> {
        let unsealed = self.unsealed.read().unwrap_or_else(PoisonError::into_inner);
        unsealed.clone().ok_or(CoreError::Sealed)
    }

    /// The engine of a mount.
    ///
    /// # Errors
    ///
    /// `NoBackend`, `Lost` or `Foreign`, or the store's.
    pub async fn engine<'a>(
        &'a self,
        unsealed: &'a Unsealed,
        mount: &'a Mount,
        work: &'a Work,
    ) -> Result<Engine<'a>, CoreError> {
        let storage = self.admitted(unsealed, &mount.backend, work).await?;
        Ok(Engine::new(&unsealed.barrier, mount, storage, work))
    }

    /// A configured backend.
    fn backend(&self, name: &str) -> Result<&Storage, CoreError> {
        self.backends.get(name).ok_or_else(|| CoreError::NoBackend { backend: name.to_owned() })
    }

    /// How the server and its backends are doing.
    pub async fn health(&self, work: &Work) -> HealthReport {
        // All at a time: one that hangs does not keep the others waiting.
        let asked: Vec<_> = self
            .backends
            .values()
            .map(|storage| {
                let (storage, work) = (storage.clone(), work.clone());
                tokio::spawn(async move { BackendHealth::of(&storage, &work).await })
            })
            .collect();
        let mut storage = Vec::with_capacity(asked.len());
        for asked in asked {
            storage.extend(asked.await);
        }
        storage.sort_by(|one: &BackendHealth, other| one.backend.cmp(&other.backend));
        let answers = |of: &BackendHealth| {
            of.backend == self.system.name() && of.health.as_ref().is_ok_and(Health::is_readable)
        };
        // A store that hangs must not keep whoever asks for health waiting a second time.
        let seal = if storage.iter().any(answers) { Some(self.seal_status(work).await) } else { None };
        let was_initialised = self.is_seen.load(Ordering::Relaxed);
        HealthReport { seal, storage, audits: self.audit.accepts(), was_initialised }
    }

    /// Closes all backends.
    pub async fn shutdown(&self, work: &Work) {
        self.seal();
        self.audit.drain().await;
        for backend in self.backends.values() {
            if let Err(error) = backend.shutdown(work).await {
                tracing::error!(%error, "a backend did not close");
            }
        }
    }

    fn status_of(&self, record: Option<&SealRecord>) -> SealStatus {
        let sealed = self.unsealed().is_err();
        let progress = self.progress();
        let status = SealStatus {
            initialised: record.is_some(),
            sealed,
            threshold: record.map_or(0, |record| record.threshold),
            shares: record.map_or(0, |record| record.shares),
            progress: progress.shares.len(),
            nonce: if progress.nonce.is_nil() { String::new() } else { progress.nonce.to_string() },
            cluster: record.filter(|_| !sealed).map(|record| record.cluster_id),
        };
        *self.seal_seen() = (!sealed).then(|| status.clone());
        status
    }
}

impl Unsealed {
    /// The keys.
    pub fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// The policies.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The mounts.
    pub fn mounts(&self) -> &Arc<Mounts> {
        &self.mounts
    }
}
