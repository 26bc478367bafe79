//! One generation of a backend follows another: which requests each one serves, the fate of requests that do
//! not end in time, and the state after a swap that cannot be rolled back.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use keyway_loader::{
    BackendConfig, Down, ErrorCode, History, Loader, Plugin, Slot, Swap, SwapError, Swapped, Trust,
    configure::configure,
    swap::{Data, Deadlines, SwapMode, Target},
};
use keyway_memory_backend::Memory;
use keyway_sdk::{
    Backend, Batch, BatchResult, CallContext, Capabilities, Delete, DropKeyspace, Durability, Error, Health,
    Key, OpenContext, Page, PluginInfo, Put, Record, Reply, Sharing, Version,
    paging::ScanPlan,
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};
use keyway_storage::{Storage, Work};
use serde_json::json;

static REQUEST: Work = Work::unpinned([7; 16]);
/// The keyspace whose calls are never answered.
const SLOW: &str = "slow";

/// A store that outlives its generations.
struct Platter {
    memory: Arc<Memory>,
    sharing: Sharing,
    opened: AtomicU64,
    /// Which opening has served each `get` of a real key.
    served: Mutex<Vec<u64>>,
    /// How often it is not opened any more.
    barred: AtomicU64,
    /// Whether it is open, if only one opener is allowed.
    is_open: AtomicBool,
    /// Whether its new generations promise less.
    promises_less: AtomicBool,
}

static PLATTERS: Mutex<Option<HashMap<u64, Arc<Platter>>>> = Mutex::new(None);

struct Twin {
    platter: Arc<Platter>,
    number: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields)]
#[schemars(crate = "schemars")]
struct Config {
    platter: u64,
}

impl Backend for Twin {
    type Config = Config;

    const PLUGIN: PluginInfo = PluginInfo {
        name: "twin",
        config_schema: "{}",
        capabilities: Capabilities {
            durability: Durability::POWER_LOSS,
            sharing: Sharing::ONE_PROCESS,
            ..Memory::PLUGIN.capabilities
        },
        ..Memory::PLUGIN
    };

    fn open(config: Config, _context: OpenContext) -> Reply<Self> {
        let platters = PLATTERS.lock().unwrap_or_else(PoisonError::into_inner);
        let platter = Arc::clone(&platters.as_ref().unwrap()[&config.platter]);
        let refused = |why: &str| Reply::ready(Err(Error::new(ErrorCode::UNAVAILABLE, why)));
        let bar = |barred: u64| barred.checked_sub(1);
        if platter.barred.fetch_update(Ordering::SeqCst, Ordering::SeqCst, bar).is_ok() {
            return refused("barred");
        }
        if platter.sharing == Sharing::ONE_OPENER && platter.is_open.swap(true, Ordering::SeqCst) {
            return refused("it is open already");
        }
        let number = platter.opened.fetch_add(1, Ordering::SeqCst) + 1;
        Reply::ready(Ok(Self { platter, number }))
    }

    fn capabilities(&self) -> Capabilities {
        let durability = match self.platter.promises_less.load(Ordering::SeqCst) && self.number > 1 {
            true => Durability::PROCESS_CRASH,
            false => Durability::POWER_LOSS,
        };
        let data_format = Self::PLUGIN.data_format;
        Capabilities { durability, sharing: self.platter.sharing, data_format, ..Self::PLUGIN.capabilities }
    }

    fn get(self: &Arc<Self>, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        match key.keyspace() {
            SLOW => return Reply::pending(std::future::pending()),
            "real" => self.platter.served.lock().unwrap().push(self.number),
            _ => {}
        }
        self.platter.memory.get(call, key)
    }

    fn put(self: &Arc<Self>, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        if put.key().keyspace() == SLOW {
            return Reply::pending(std::future::pending());
        }
        self.platter.memory.put(call, put)
    }

    fn delete(self: &Arc<Self>, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        self.platter.memory.delete(call, delete)
    }

    fn apply(self: &Arc<Self>, call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        self.platter.memory.apply(call, batch)
    }

    fn scan(self: &Arc<Self>, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        self.platter.memory.scan(call, plan)
    }

    fn keyspaces(self: &Arc<Self>, call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        self.platter.memory.keyspaces(call, after)
    }

    fn drop_keyspace(self: &Arc<Self>, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        self.platter.memory.drop_keyspace(call, drop)
    }

    fn health(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<Health> {
        self.platter.memory.health(call)
    }

    fn shutdown(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<()> {
        self.platter.is_open.store(false, Ordering::SeqCst);
        Reply::ready(Ok(()))
    }
}

/// A backend in its slot, with all that a swap needs.
struct Bench {
    platter: Arc<Platter>,
    plugin: Plugin,
    slot: Arc<Slot>,
    storage: Storage,
    loader: Arc<Loader>,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn new(sharing: Sharing) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let memory = Memory::new(&keyway_memory_backend::Config::default()).map(Arc::new).unwrap();
        let platter = Arc::new(Platter {
            memory,
            sharing,
            opened: AtomicU64::new(0),
            served: Mutex::default(),
            barred: AtomicU64::new(0),
            is_open: AtomicBool::new(false),
            promises_less: AtomicBool::new(false),
        });
        PLATTERS.lock().unwrap().get_or_insert_default().insert(number, Arc::clone(&platter));
        let directory = tempfile::TempDir::new().unwrap();
        let plugin = Plugin::linked(keyway_sdk::linked::<Twin>()).unwrap();
        let config = BackendConfig {
            name: "main".into(),
            config: json!({ "platter": number }),
            data_dir: directory.path().to_owned(),
        };
        let slot = Arc::new(Slot::from(configure(&plugin, &config).await.unwrap()));
        let staging_dir = directory.path().join("staged");
        let loader = Arc::new(Loader {
            search: Vec::new(),
            trust: Trust::lock(directory.path().join("keyway.lock")),
            libraries: Vec::new(),
            prober: None,
            history: History::new(staging_dir.clone()),
            staging_dir,
            host: "test".to_owned(),
            most_images: 1,
        });
        let storage = Storage::new(Arc::clone(&slot));
        Self { platter, plugin, slot, storage, loader, _directory: directory }
    }

    /// With short deadlines.
    async fn swap(&self) -> Result<Swapped, SwapError> {
        let ms = Duration::from_millis;
        self.swap_within(Deadlines { drain: ms(200), close: ms(200), open: ms(500), copy: ms(500) }).await
    }

    async fn swap_within(&self, deadlines: Deadlines) -> Result<Swapped, SwapError> {
        let target = Target::Plugin(Box::new(self.plugin.clone()));
        let swap = Swap {
            target,
            config: None,
            data: Data::Kept,
            takes_set_aside: false,
            only_from: None,
            deadlines,
        };
        self.loader.swap(&self.slot, swap).await
    }

    async fn get(&self) {
        self.get_for(&REQUEST).await;
    }

    async fn get_for(&self, work: &Work) {
        self.storage.get(work, Key::new("real", b"k")).await.unwrap();
    }

    fn served(&self) -> Vec<u64> {
        std::mem::take(&mut self.platter.served.lock().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_stays_with_one_generation_while_others_go_to_the_next() {
    let bench = Bench::new(Sharing::ONE_PROCESS).await;
    let request = Work::new([1; 16]);
    bench.get_for(&request).await;
    let swapped = bench.swap().await.unwrap();
    assert_eq!((swapped.way, swapped.waited), (SwapMode::SideBySide, Duration::ZERO));
    assert!(swapped.is_reopening());
    bench.get_for(&request).await;
    // What belongs to the request, wherever it runs.
    let (storage, same) = (bench.storage.clone(), request.clone());
    tokio::spawn(async move { storage.get(&same, Key::new("real", b"k")).await }).await.unwrap().unwrap();
    assert_eq!(bench.served(), [1, 1, 1]);
    // Another request meanwhile.
    bench.get_for(&Work::new([2; 16])).await;
    assert_eq!(bench.served(), [2]);
    assert_eq!(bench.slot.draining(), 1, "the first still serves the request");
    drop(request);
    tokio::time::timeout(Duration::from_secs(20), bench.slot.drained()).await.unwrap();
    bench.get().await;
    assert_eq!(bench.served(), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_that_releases_its_generations_keeps_no_swap_waiting_and_goes_to_the_next() {
    let bench = Bench::new(Sharing::ONE_PROCESS).await;
    let releases: [fn(Work) -> Work; 2] = [
        // What the server does after the gate has answered: the audit line of the answer is still to come.
        |work| work.detached(),
        // What a request does that asks for a swap.
        |work| {
            work.unpin();
            work
        },
    ];
    for (release, former) in releases.into_iter().zip(1..) {
        let request = Work::new([1; 16]);
        bench.get_for(&request).await;
        bench.swap().await.unwrap();
        assert_eq!(bench.slot.draining(), 1, "the request is pinned");
        let request = release(request);
        tokio::time::timeout(Duration::from_secs(20), bench.slot.drained()).await.unwrap();
        bench.get_for(&request).await;
        assert_eq!(bench.served(), [former, former + 1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slot_that_has_ended_its_turns_swaps_no_more_even_if_the_last_turn_goes_on() {
    let bench = Bench::new(Sharing::ONE_PROCESS).await;
    let last = bench.slot.turn().await.unwrap();
    bench.slot.end_turns(Duration::from_millis(10)).await;
    assert!(bench.slot.turn().await.is_none());
    assert!(matches!(bench.swap().await, Err(SwapError::Stopping)));
    drop(last);
    assert!(bench.slot.turn().await.is_none());
    assert!(matches!(bench.swap().await, Err(SwapError::Stopping)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_in_time_is_cancelled_and_only_writes_that_were_asked_for_are_unknown() {
    let bench = Bench::new(Sharing::ONE_PROCESS).await;
    let (reader, writer) = (bench.storage.clone(), bench.storage.clone());
    let reads = tokio::spawn(async move { reader.get(&REQUEST, Key::new(SLOW, b"k")).await.unwrap_err() });
    let writes = tokio::spawn(async move {
        writer.put(&REQUEST, keyway_loader::Put::new(Key::new(SLOW, b"k"), b"v")).await.unwrap_err()
    });
    let request = Work::new([1; 16]);
    bench.get_for(&request).await;
    // Until both are under way.
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.swap().await.unwrap();
    let (read, written) = (reads.await.unwrap(), writes.await.unwrap());
    assert_eq!((read.code(), read.is_unknown()), (ErrorCode::CANCELLED, false));
    assert_eq!((written.code(), written.is_unknown()), (ErrorCode::CANCELLED, true));
    // A request that has stayed with it is not moved to the other: it is told, and nothing has happened.
    let put = keyway_loader::Put::new(Key::new("real", b"late"), b"v");
    let late = bench.storage.put(&request, put).await.unwrap_err();
    assert_eq!((late.code(), late.is_unknown()), (ErrorCode::CANCELLED, false));
    drop(request);
    assert!(bench.storage.get(&REQUEST, Key::new("real", b"late")).await.unwrap().is_none());
    tokio::time::timeout(Duration::from_secs(20), bench.slot.drained()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_while_a_store_of_one_opener_is_opened_anew() {
    let bench = Arc::new(Bench::new(Sharing::ONE_OPENER).await);
    // As long as the store is barred, the swap opens nothing, and all calls wait.
    bench.platter.barred.store(6, Ordering::SeqCst);
    let swapping = tokio::spawn({
        let bench = Arc::clone(&bench);
        async move { bench.swap_within(Deadlines::default()).await }
    });
    while bench.platter.barred.load(Ordering::SeqCst) > 5 {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move { bench.get_for(&Work::new([3; 16])).await })
        })
        .collect();
    for waiting in waiting {
        waiting.await.unwrap();
    }
    let error = swapping.await.unwrap().unwrap_err();
    assert!(matches!(error, SwapError::Unready(_)), "{error}");
    assert_eq!(bench.served(), [2; 20], "all by the former plugin, opened again");
    assert!(begun.elapsed() >= Duration::from_millis(100), "they have waited");
}

#[tokio::test(flavor = "multi_thread")]
async fn store_of_one_opener_is_not_closed_under_calls_that_do_not_end() {
    let bench = Bench::new(Sharing::ONE_OPENER).await;
    let reader = bench.storage.clone();
    let hanging = tokio::spawn(async move { reader.get(&REQUEST, Key::new(SLOW, b"k")).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = bench.swap().await.unwrap_err();
    assert!(matches!(error, SwapError::Late { .. }), "{error}");
    bench.get().await;
    assert_eq!((bench.served(), bench.platter.opened.load(Ordering::SeqCst)), (vec![1], 1));
    hanging.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn store_that_does_not_open_again_is_down_and_comes_back_by_itself() {
    let bench = Bench::new(Sharing::ONE_OPENER).await;
    bench.platter.barred.store(u64::MAX, Ordering::SeqCst);
    let error = bench.swap().await.unwrap_err();
    assert!(matches!(error, SwapError::Lost { .. }), "{error}");
    let Down { summary, .. } = bench.slot.generation().unwrap_err();
    assert_eq!(summary, "a swap has failed, and the store does not open again");
    let refused = bench.storage.get(&REQUEST, Key::new("real", b"k")).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::UNAVAILABLE);
    bench.platter.barred.store(0, Ordering::SeqCst);
    let begun = Instant::now();
    while bench.slot.generation().is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bench.get().await;
    assert_eq!(bench.served(), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn generation_that_promises_less_never_serves() {
    for sharing in [Sharing::ONE_OPENER, Sharing::ONE_PROCESS] {
        let bench = Bench::new(sharing).await;
        bench.platter.promises_less.store(true, Ordering::SeqCst);
        let error = bench.swap().await.unwrap_err();
        bench.platter.promises_less.store(false, Ordering::SeqCst);
        assert!(matches!(error, SwapError::Promises { what: "durability" }), "{error}");
        bench.get().await;
        // Nothing is left of the attempt.
        let keyspaces = bench.slot.generation().unwrap();
        let keyspaces = keyspaces.keyspaces(&keyway_loader::CallContext::background(), "").await.unwrap();
        assert!(!keyspaces.iter().any(|name| name.starts_with("keyway-scratch-")), "{keyspaces:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_swap_is_busy_and_a_cancelled_one_is_not_left_half_done() {
    let bench = Arc::new(Bench::new(Sharing::ONE_OPENER).await);
    bench.platter.barred.store(1, Ordering::SeqCst);
    let second = Arc::clone(&bench);
    let (first, second) = tokio::join!(bench.swap(), async move { second.swap().await });
    let busy = [&first, &second].into_iter().filter(|swap| matches!(swap, Err(SwapError::Busy))).count();
    assert_eq!(busy, 1, "{first:?} {second:?}");
    // A caller that goes away at once.
    drop(tokio::time::timeout(Duration::ZERO, bench.swap()).await);
    let begun = Instant::now();
    loop {
        bench.get().await;
        match bench.swap().await {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, SwapError::Busy), "{error}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the turn was never given back");
    }
}
