//! What the server is between its edge and its stores: sealed or not, and who may do what.
//!
//! [`cluster`] knows whose stores these are, [`mount`] makes and takes away mounts, [`upkeep`] does what is left to be done
//! behind them.

pub mod cluster;
mod error;
mod mount;
mod upkeep;

pub use self::{cluster::Known, error::CoreError, mount::NewMount};

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use keyway_loader::{Backends, Generation, Health, Version};
use uuid::Uuid;

use self::upkeep::Upkeep;
use crate::{
    barrier::{Barrier, UseBound},
    config::MountConfig,
    crypto::shares::Share,
    metrics::Metrics,
    mounts::{Mount, Mounts},
    seal::{Initialised, SealRecord, SealRecordError, ShareCounts, Unlocked, initialise},
    secrets::Engine,
    storage::{CallLimits, RequestId, Storage, StorageError},
    token::{Token, forget_unopenable},
};

/// The server's state.
pub struct Core {
    system: Storage,
    backends: HashMap<String, Storage>,
    settings: CoreSettings,
    known: Known,
    unsealed: RwLock<Option<Arc<Unsealed>>>,
    progress: Mutex<Progress>,
    upkeep: Upkeep,
}

/// What the configuration says about it.
pub struct CoreSettings {
    /// The backend that holds keys, tokens and mounts.
    pub system_backend: String,
    /// Mounts that are made where the store does not have them.
    pub mounts: BTreeMap<String, MountConfig>,
    /// How often a key is used before it is rotated.
    pub key_uses: UseBound,
    /// Where the server keeps its own files.
    pub data_dir: PathBuf,
    /// Bounds around each backend.
    pub calls: CallLimits,
}

/// What an unsealed server holds. Requests keep it for as long as they run.
pub struct Unsealed {
    barrier: Arc<Barrier>,
    mounts: Arc<Mounts>,
    /// Backends whose markers were seen to be this cluster's.
    admitted: Mutex<HashSet<String>>,
}

/// Shares that have been given so far.
#[derive(Default)]
struct Progress {
    nonce: Uuid,
    shares: Vec<Share>,
    /// Counts the times that somebody said to seal or to begin anew: an unsealing that began before does not count.
    epoch: u64,
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
    pub storage: Vec<(String, Result<Health, StorageError>)>,
}

impl Core {
    /// A sealed server over open backends.
    ///
    /// # Errors
    ///
    /// `NoBackend` where the system backend is not among them, and where the data directory's marker cannot be read.
    pub fn new(backends: &Backends, settings: CoreSettings, metrics: &Metrics) -> Result<Self, CoreError> {
        let storage = |open: &Arc<Generation>| {
            Storage::guarded(Arc::clone(open), settings.calls, metrics.backend(open.backend()))
        };
        let backends: HashMap<String, Storage> =
            backends.iter().map(|open| (open.backend().to_owned(), storage(open))).collect();
        let system = backends.get(&settings.system_backend).cloned();
        let system =
            system.ok_or_else(|| CoreError::NoBackend { backend: settings.system_backend.clone() })?;
        Ok(Self {
            known: Known::read(&settings.data_dir)?,
            system,
            backends,
            settings,
            unsealed: RwLock::new(None),
            progress: Mutex::default(),
            upkeep: Upkeep::default(),
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

    /// The name of the system backend's plugin.
    pub fn system_plugin(&self) -> &str {
        self.system.plugin()
    }

    /// Makes a cluster.
    ///
    /// # Errors
    ///
    /// See [`InitError`](crate::seal::InitError).
    pub async fn init(
        &self,
        request: RequestId,
        counts: ShareCounts,
        repeat: bool,
    ) -> Result<Initialised, CoreError> {
        // What is lost or another's is not to be initialised.
        self.look(request).await?;
        let initialised = initialise(&self.system, request, counts, repeat).await?;
        // Shares that were given before are void.
        self.progress().forget();
        self.remember(initialised.cluster);
        tracing::info!(cluster = %initialised.cluster, "cluster initialised");
        Ok(initialised)
    }

    /// How far the seal is.
    ///
    /// # Errors
    ///
    /// When the seal record cannot be read.
    pub async fn seal_status(&self, request: RequestId) -> Result<SealStatus, CoreError> {
        let looked = self.look(request).await?;
        Ok(self.status_of(looked.as_ref().map(|(record, _)| record)))
    }

    /// Takes one share; unseals when it is the last that is needed.
    ///
    /// # Errors
    ///
    /// See [`CoreError`]. A wrong share leaves the progress as it is.
    pub async fn unseal(self: &Arc<Self>, request: RequestId, share: Share) -> Result<SealStatus, CoreError> {
        let (record, version) = self.look(request).await?.ok_or(CoreError::NotInitialised)?;
        if self.unsealed().is_ok() {
            return Ok(self.status_of(Some(&record)));
        }
        if !record.knows(&share) {
            return Err(CoreError::WrongShare);
        }
        if let Some((unlocked, epoch)) = self.add_share(share, &record)? {
            // The shares are kept until this has succeeded: a hiccup of the store must not cost them.
            let barrier = Arc::new(Barrier::new(self.system.clone(), unlocked, self.settings.key_uses));
            let record = self.confirm(request, record, version, &barrier).await?;
            let mounts = Mounts::load(&barrier, request, &self.settings.mounts).await?;
            if self.publish(Unsealed { barrier, mounts, admitted: Mutex::default() }, epoch) {
                tracing::info!(cluster = %record.cluster_id, "unsealed");
                self.upkeep.begin(self);
            }
            return Ok(self.status_of(Some(&record)));
        }
        Ok(self.status_of(Some(&record)))
    }

    /// Forgets the shares that were given so far.
    pub fn reset_unseal(&self) {
        self.progress().forget();
    }

    /// Puts the keys out of reach. Requests that run end with the keys that they have.
    pub fn seal(&self) {
        // Both under the lock of the progress, so that no unsealing that began before comes after.
        let mut progress = self.progress();
        progress.forget();
        *self.unsealed.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.upkeep.end();
        drop(progress);
        tracing::info!("sealed");
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

    /// What an unsealed server holds, for whoever presents a root token.
    ///
    /// # Errors
    ///
    /// `Sealed`, `PermissionDenied`, or the store's.
    pub async fn authorised(
        &self,
        request: RequestId,
        token: Option<&Token>,
    ) -> Result<Arc<Unsealed>, CoreError> {
        let unsealed = self.unsealed()?;
        let token = token.ok_or(CoreError::PermissionDenied)?;
        if token.is_root(&unsealed.barrier, request).await? {
            Ok(unsealed)
        } else {
            Err(CoreError::PermissionDenied)
        }
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
        request: RequestId,
    ) -> Result<Engine<'a>, CoreError> {
        let storage = self.admitted(unsealed, &mount.backend, request).await?;
        Ok(Engine::new(&unsealed.barrier, mount, storage, request))
    }

    /// A configured backend.
    fn backend(&self, name: &str) -> Result<&Storage, CoreError> {
        self.backends.get(name).ok_or_else(|| CoreError::NoBackend { backend: name.to_owned() })
    }

    /// How the server and its backends are doing.
    pub async fn health(&self, request: RequestId) -> HealthReport {
        // All at a time: one that hangs does not keep the others waiting.
        let asked: Vec<_> = self
            .backends
            .iter()
            .map(|(name, backend)| {
                let (name, backend) = (name.clone(), backend.clone());
                tokio::spawn(async move { (name, backend.health(request).await) })
            })
            .collect();
        let mut storage = Vec::with_capacity(asked.len());
        for asked in asked {
            storage.extend(asked.await);
        }
        storage.sort_by(|(one, _), (other, _)| one.cmp(other));
        let answers = |(name, health): &(String, Result<Health, StorageError>)| {
            name == self.system.name() && health.as_ref().is_ok_and(Health::is_readable)
        };
        // A store that hangs must not keep whoever asks for health waiting a second time.
        let seal = if storage.iter().any(answers) { Some(self.seal_status(request).await) } else { None };
        HealthReport { seal, storage }
    }

    /// Closes all backends.
    pub async fn shutdown(&self, request: RequestId) {
        self.seal();
        for backend in self.backends.values() {
            if let Err(error) = backend.shutdown(request).await {
                tracing::error!(%error, "a backend did not close");
            }
        }
    }

    /// Writes down that somebody has unsealed with the shares of this record: from now on the initialisation cannot be
    /// repeated. Then, and not before, tokens of former attempts are removed. Answers the record as it is now.
    async fn confirm(
        &self,
        request: RequestId,
        record: SealRecord,
        version: Version,
        barrier: &Barrier,
    ) -> Result<SealRecord, CoreError> {
        let (record, version) = if record.is_confirmed() {
            (record, version)
        } else {
            self.confirm_unconfirmed(request, &record, version).await?
        };
        if record.is_tidied() {
            return Ok(record);
        }
        forget_unopenable(barrier, request).await?;
        let tidied = record.tidied();
        match tidied.replace(&self.system, request, version).await {
            Ok(_) => Ok(tidied),
            // Another host has changed the record; whoever unseals next does it again.
            Err(error) if error.is_lost_race() => Ok(record),
            Err(error) => Err(SealRecordError::from(error).into()),
        }
    }

    async fn confirm_unconfirmed(
        &self,
        request: RequestId,
        record: &SealRecord,
        version: Version,
    ) -> Result<(SealRecord, Version), CoreError> {
        let confirmed = record.confirmed();
        match confirmed.replace(&self.system, request, version).await {
            Ok(version) => Ok((confirmed, version)),
            Err(error) if error.is_lost_race() => {
                // By another unsealing with the same shares, or by a repeated initialisation that made others.
                let now = SealRecord::load_versioned(&self.system, request).await?;
                let same = |now: &SealRecord| now.is_confirmed() && now.has_shares_of(record);
                now.filter(|(now, _)| same(now)).ok_or_else(|| {
                    self.progress().forget();
                    CoreError::SharesReplaced
                })
            }
            Err(error) => Err(SealRecordError::from(error).into()),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a share that is not there yet. The keys, once they are enough, with the epoch that they are good for.
    fn add_share(&self, share: Share, record: &SealRecord) -> Result<Option<(Unlocked, u64)>, CoreError> {
        let mut progress = self.progress();
        if self.unsealed().is_ok() {
            return Ok(None);
        }
        // Shares of an initialisation that was repeated since, here or on another host.
        if progress.shares.iter().any(|given| !record.knows(given)) {
            progress.forget();
        }
        let hash = share.hash(record.cluster_id);
        if !progress.shares.iter().any(|given| given.hash(record.cluster_id).matches(&hash)) {
            if progress.shares.is_empty() {
                progress.nonce = Uuid::new_v4();
            }
            progress.shares.push(share);
        }
        if progress.shares.len() < usize::from(record.threshold) {
            return Ok(None);
        }
        match record.unlock(&progress.shares) {
            Some(unlocked) => Ok(Some((unlocked, progress.epoch))),
            None => {
                progress.forget();
                Err(CoreError::KeysDoNotOpen)
            }
        }
    }

    /// Unseals, unless somebody has sealed or begun anew since, or was quicker.
    fn publish(&self, unsealed: Unsealed, epoch: u64) -> bool {
        let mut progress = self.progress();
        let mut present = self.unsealed.write().unwrap_or_else(PoisonError::into_inner);
        if progress.epoch != epoch || present.is_some() {
            return false;
        }
        *present = Some(Arc::new(unsealed));
        progress.forget();
        true
    }

    fn status_of(&self, record: Option<&SealRecord>) -> SealStatus {
        let sealed = self.unsealed().is_err();
        let progress = self.progress();
        SealStatus {
            initialised: record.is_some(),
            sealed,
            threshold: record.map_or(0, |record| record.threshold),
            shares: record.map_or(0, |record| record.shares),
            progress: progress.shares.len(),
            nonce: if progress.nonce.is_nil() { String::new() } else { progress.nonce.to_string() },
            cluster: record.filter(|_| !sealed).map(|record| record.cluster_id),
        }
    }
}

impl Progress {
    fn forget(&mut self) {
        *self = Self { epoch: self.epoch + 1, ..Self::default() };
    }
}

impl Unsealed {
    /// The keys.
    pub fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// The mounts.
    pub fn mounts(&self) -> &Arc<Mounts> {
        &self.mounts
    }
}
