//! The memory backend with a script of faults. Its contents outlive its handles, so that a test can crash and
//! begin again on the records that the crash has left.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use keyway_core::{
    barrier::{Barrier, UseBound},
    mounts::Mount,
    seal::{Initialised, SealRecord, ShareCounts, initialise},
    secrets::Settings,
};
use keyway_loader::{BackendConfig, Generation, Plugin, configure::configure};
use keyway_memory_backend::Memory;
use keyway_sdk::{
    Backend, Batch, BatchResult, CallContext, Capabilities, Delete, DropKeyspace, Durability, Error,
    ErrorCode, Features, Health, Key, Limits, OpKind, OpenContext, Page, PluginInfo, Put, ReadConsistency,
    Record, Records, Reply, Sharing, Version,
    paging::ScanPlan,
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};
use keyway_storage::{Storage, Work};
use serde_json::json;

pub(crate) static REQUEST: Work = Work::unpinned([1; 16]);

/// The outcome of the calls of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// All is well.
    Well,
    /// The first write at a commit point happens, and is answered as unknown.
    FirstDone,
    /// The first write at a commit point does not happen, and is answered as unknown.
    FirstLost,
    /// No write at a commit point happens, and each is answered as unknown.
    AllLost,
    /// The first deletion of a metadata record happens, and is answered as unknown.
    DeletionDone,
    /// The change with this number (from 0, of all changes) is the last thing that happens, or the first that
    /// does not; nothing is answered any more.
    Crash { at: u64, done: bool },
    /// No call is ever answered.
    Hangs,
    /// Every call fails, without effect.
    Fails,
    /// Every call takes this long.
    Slow(Duration),
}

/// A store that outlives its handles.
#[derive(Clone)]
pub(crate) struct Disk {
    number: u64,
    platter: Arc<Platter>,
}

struct Platter {
    memory: Arc<Memory>,
    /// How many operations a batch may have; zero: there are none.
    batch_ops: u64,
    durable: bool,
    stale: bool,
    /// Whether several hosts may have it open.
    shared: bool,
    script: Mutex<Script>,
    points: AtomicU64,
    changes: AtomicU64,
    calls: AtomicU64,
}

static DISKS: Mutex<Option<HashMap<u64, Arc<Platter>>>> = Mutex::new(None);

impl Disk {
    /// An empty store, with or without atomic batches.
    pub(crate) fn new(batches: bool) -> Self {
        Self::make(if batches { 1_000 } else { 0 }, false, false)
    }

    /// An empty store that says that it keeps what it was given.
    pub(crate) fn durable() -> Self {
        Self::make(1_000, true, false)
    }

    /// An empty store that says that its reads may be of an earlier state.
    pub(crate) fn stale() -> Self {
        Self::make(1_000, true, true)
    }

    /// An empty store that takes batches of up to `batch_ops` operations.
    pub(crate) fn with_batches_of(batch_ops: u64) -> Self {
        Self::make(batch_ops, false, false)
    }

    /// An empty store for several hosts that takes batches of up to `batch_ops` operations.
    pub(crate) fn shared(batch_ops: u64) -> Self {
        Self::of(batch_ops, (true, false, true))
    }

    fn make(batch_ops: u64, durable: bool, stale: bool) -> Self {
        Self::of(batch_ops, (durable, stale, false))
    }

    fn of(batch_ops: u64, (durable, stale, shared): (bool, bool, bool)) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let memory = Memory::new(&keyway_memory_backend::Config::default()).map(Arc::new).unwrap();
        let platter = Arc::new(Platter {
            memory,
            batch_ops,
            durable,
            stale,
            shared,
            script: Mutex::new(Script::Well),
            points: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            calls: AtomicU64::new(0),
        });
        let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
        disks.get_or_insert_default().insert(number, Arc::clone(&platter));
        Self { number, platter }
    }

    /// Begins a script.
    pub(crate) fn play(&self, script: Script) {
        self.platter.points.store(0, Ordering::SeqCst);
        self.platter.changes.store(0, Ordering::SeqCst);
        *self.platter.script.lock().unwrap() = script;
    }

    /// How many changes were asked for since the script began.
    pub(crate) fn changes(&self) -> u64 {
        self.platter.changes.load(Ordering::SeqCst)
    }

    /// How many calls have reached it.
    pub(crate) fn calls(&self) -> u64 {
        self.platter.calls.load(Ordering::SeqCst)
    }

    /// The way to it.
    pub(crate) async fn open(&self) -> Storage {
        Storage::new(Arc::new(self.generation("main").await.into()))
    }

    /// It, opened under a name.
    pub(crate) async fn generation(&self, name: &str) -> Generation {
        let plugin = Plugin::linked(keyway_sdk::linked::<Chaotic>()).unwrap();
        let backend = BackendConfig {
            name: name.into(),
            config: json!({ "disk": self.number }),
            data_dir: Path::new(".").into(),
        };
        configure(&plugin, &backend).await.unwrap()
    }

    /// The names of its keyspaces.
    pub(crate) async fn keyspaces(&self) -> Vec<String> {
        let generation = self.generation("main").await;
        generation.keyspaces(&keyway_loader::CallContext::background(), "").await.unwrap()
    }
}

/// A new cluster of one share in a store.
pub(crate) async fn cluster(storage: &Storage) -> Initialised {
    initialise(storage, &REQUEST, ShareCounts::new(1, 1).unwrap(), false).await.unwrap()
}

/// The barrier of a cluster.
pub(crate) async fn barrier(storage: &Storage, made: &Initialised, bound: UseBound) -> Barrier {
    let record = SealRecord::load(storage, &REQUEST).await.unwrap().unwrap();
    Barrier::new(storage.clone(), record.unlock(&made.shares).unwrap(), bound)
}

/// A barrier over a new store.
pub(crate) async fn some_barrier() -> Barrier {
    let storage = Disk::new(true).open().await;
    let made = cluster(&storage).await;
    barrier(&storage, &made, UseBound::default()).await
}

/// A mount that keeps up to `max_versions` versions.
pub(crate) fn mount(max_versions: u32) -> Mount {
    let settings = Settings { max_versions, ..Settings::default() };
    Mount { uuid: uuid::Uuid::from_u128(1), settings, ..Mount::new("main") }
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields)]
#[schemars(crate = "schemars")]
struct Config {
    disk: u64,
}

struct Chaotic {
    platter: Arc<Platter>,
}

/// Whether a change happens, and whether it is answered.
struct Fate {
    happens: bool,
    answered: bool,
}

impl Platter {
    fn script(&self) -> Script {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_down(&self) -> bool {
        matches!(self.script(), Script::Crash { at, .. } if self.changes.load(Ordering::SeqCst) > at)
    }

    fn fate(&self, is_point: bool, is_removal: bool) -> Fate {
        let number = self.changes.fetch_add(1, Ordering::SeqCst);
        let first = is_point && self.points.fetch_add(1, Ordering::SeqCst) == 0;
        let fate = |happens, answered| Fate { happens, answered };
        match self.script() {
            Script::FirstDone if first => fate(true, false),
            Script::FirstLost if first => fate(false, false),
            Script::AllLost if is_point => fate(false, false),
            Script::DeletionDone if first && is_removal => fate(true, false),
            Script::Crash { at, done } if number == at => fate(done, false),
            Script::Crash { at, .. } if number > at => fate(false, false),
            _ => fate(true, true),
        }
    }

    fn change<T: Send + 'static>(
        &self,
        is_point: bool,
        is_removal: bool,
        change: impl FnOnce() -> Reply<T>,
    ) -> Reply<T> {
        if let Err(disturbed) = self.disturbance() {
            return disturbed;
        }
        let fate = self.fate(is_point, is_removal);
        let reply = if fate.happens { Some(change()) } else { None };
        match reply {
            Some(reply) if fate.answered => self.in_time(reply),
            _ => Reply::ready(Err(Error::new(ErrorCode::TIMEOUT, "no answer").with_unknown_outcome())),
        }
    }

    /// Counts a call, and answers instead of the store if the script says so.
    fn disturbance<T: Send + 'static>(&self) -> Result<(), Reply<T>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match self.script() {
            Script::Hangs => Err(Reply::pending(std::future::pending())),
            Script::Fails => Err(Reply::ready(Err(Error::new(ErrorCode::UNAVAILABLE, "out of order")))),
            _ => Ok(()),
        }
    }

    fn in_time<T: Send + 'static>(&self, reply: Reply<T>) -> Reply<T> {
        match self.script() {
            Script::Slow(pause) => {
                // The store answers at once; what it says is kept until the time has come.
                let (answer, kept) = std::sync::mpsc::channel();
                drop(reply.map(move |value| answer.send(value)));
                let kept = kept.recv().map_err(|_| Error::new(ErrorCode::INTERNAL, "it failed, slowly"));
                Reply::pending(async move {
                    tokio::time::sleep(pause).await;
                    kept
                })
            }
            _ => reply,
        }
    }

    fn read<T: Send + 'static>(&self, read: impl FnOnce() -> Reply<T>) -> Reply<T> {
        if let Err(disturbed) = self.disturbance() {
            return disturbed;
        }
        if self.is_down() {
            return Reply::ready(Err(Error::new(ErrorCode::UNAVAILABLE, "the machine has crashed")));
        }
        self.in_time(read())
    }
}

fn is_point(key: Key<'_>) -> bool {
    key.bytes().starts_with(b"m/") || key.bytes() == b"seal"
}

impl Backend for Chaotic {
    type Config = Config;

    const PLUGIN: PluginInfo = PluginInfo {
        name: "chaotic",
        config_schema: "{}",
        capabilities: Capabilities {
            durability: Durability::POWER_LOSS,
            sharing: Sharing::MANY_HOSTS,
            limits: Limits { batch_ops: u64::MAX, ..Limits::USUAL },
            ..Memory::PLUGIN.capabilities
        },
        ..Memory::PLUGIN
    };

    fn open(config: Config, _context: OpenContext) -> Reply<Self> {
        let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
        let platter = disks.as_ref().and_then(|disks| disks.get(&config.disk)).cloned();
        Reply::ready(
            platter
                .map(|platter| Self { platter })
                .ok_or_else(|| Error::new(ErrorCode::NOT_FOUND, "no disk")),
        )
    }

    fn capabilities(&self) -> Capabilities {
        let inner = Memory::PLUGIN.capabilities;
        let inner = Capabilities { data_format: Memory::PLUGIN.data_format, ..inner };
        let durability = if self.platter.durable { Durability::POWER_LOSS } else { inner.durability };
        let stale = ReadConsistency::EVENTUAL;
        let read_consistency = if self.platter.stale { stale } else { inner.read_consistency };
        let sharing = if self.platter.shared { Sharing::MANY_HOSTS } else { inner.sharing };
        let inner = Capabilities { durability, read_consistency, sharing, ..inner };
        match self.platter.batch_ops {
            0 => Capabilities { features: Features::EMPTY, ..inner },
            batch_ops => Capabilities { limits: Limits { batch_ops, ..inner.limits }, ..inner },
        }
    }

    fn get(self: &Arc<Self>, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        self.platter.read(|| self.platter.memory.get(call, key))
    }

    fn get_many(self: &Arc<Self>, call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records> {
        self.platter.read(|| self.platter.memory.get_many(call, keys))
    }

    fn put(self: &Arc<Self>, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        self.platter.change(is_point(put.key()), false, || self.platter.memory.put(call, put))
    }

    fn delete(self: &Arc<Self>, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let is_removal = delete.key().bytes().starts_with(b"m/");
        self.platter.change(is_removal, is_removal, || self.platter.memory.delete(call, delete))
    }

    fn apply(self: &Arc<Self>, call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        let point = batch.ops().iter().any(|op| is_point(op.key()));
        let removal =
            batch.ops().iter().any(|op| op.kind() == OpKind::Delete && op.key().bytes().starts_with(b"m/"));
        self.platter.change(point, removal, || self.platter.memory.apply(call, batch))
    }

    fn scan(self: &Arc<Self>, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        self.platter.read(|| self.platter.memory.scan(call, plan))
    }

    fn keyspaces(self: &Arc<Self>, call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        self.platter.read(|| self.platter.memory.keyspaces(call, after))
    }

    fn drop_keyspace(self: &Arc<Self>, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        self.platter.change(false, false, || self.platter.memory.drop_keyspace(call, drop))
    }

    fn health(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<Health> {
        self.platter.read(|| self.platter.memory.health(call))
    }
}
