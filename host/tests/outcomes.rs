//! The engine over a backend that has no batches and does not always know what it has done.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use keyway::{
    crypto::keyring::Keyring,
    mounts::Mount,
    seal::{SealRecord, ShareCounts, initialise},
    secrets::{Engine, EngineError, Read, SecretPath, Write},
    storage::{RequestId, Storage},
};
use keyway_loader::{BackendConfig, Plugin, Scan, configure::configure};
use keyway_memory_backend::Memory;
use keyway_sdk::{
    Backend, CallContext, Capabilities, Delete, DropKeyspace, Error, ErrorCode, Features, Health, Key,
    OpenContext, Page, PluginInfo, Put, Record, Reply, Version,
    paging::ScanPlan,
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};
use serde_json::json;
use uuid::Uuid;

const REQUEST: RequestId = RequestId([1; 16]);

/// What becomes of a write at a commit point (the metadata of a secret, the seal record).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(crate = "serde", rename_all = "snake_case")]
#[schemars(crate = "schemars")]
enum Fault {
    /// It happens, and is answered.
    None,
    /// The first one happens, and is answered as unknown.
    FirstDone,
    /// The first one does not happen, and is answered as unknown.
    FirstLost,
    /// None happens, and each is answered as unknown.
    AllLost,
    /// The first deletion of a metadata record happens, and is answered as unknown.
    DeletionDone,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields)]
#[schemars(crate = "schemars")]
struct Config {
    fault: Fault,
}

/// The memory backend without batches, with a fault.
struct Forgetful {
    inner: Arc<Memory>,
    fault: Fault,
    points: AtomicU32,
    deletions: AtomicU32,
}

impl Backend for Forgetful {
    type Config = Config;

    const PLUGIN: PluginInfo = PluginInfo { name: "forgetful", config_schema: "true", ..Memory::PLUGIN };

    fn open(config: Config, _context: OpenContext) -> Reply<Self> {
        let inner = Memory::new(&keyway_memory_backend::Config::default()).map(Arc::new);
        Reply::ready(inner.map(|inner| Self {
            inner,
            fault: config.fault,
            points: AtomicU32::new(0),
            deletions: AtomicU32::new(0),
        }))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { features: Features::EMPTY, ..self.inner.capabilities() }
    }

    fn get(self: &Arc<Self>, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        self.inner.get(call, key)
    }

    fn put(self: &Arc<Self>, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        let is_point = put.key().bytes().starts_with(b"m/") || put.key().bytes() == b"seal";
        let first = is_point && self.points.fetch_add(1, Ordering::Relaxed) == 0;
        let unknown =
            || Reply::ready(Err(Error::new(ErrorCode::TIMEOUT, "no answer").with_unknown_outcome()));
        match self.fault {
            Fault::FirstLost if first => unknown(),
            Fault::AllLost if is_point => unknown(),
            Fault::FirstDone if first => {
                drop(self.inner.put(call, put));
                unknown()
            }
            _ => self.inner.put(call, put),
        }
    }

    fn delete(self: &Arc<Self>, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let is_point = delete.key().bytes().starts_with(b"m/");
        let first = is_point && self.deletions.fetch_add(1, Ordering::Relaxed) == 0;
        let reply = self.inner.delete(call, delete);
        if self.fault == Fault::DeletionDone && first {
            return Reply::ready(Err(Error::new(ErrorCode::TIMEOUT, "no answer").with_unknown_outcome()));
        }
        reply
    }

    fn scan(self: &Arc<Self>, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        self.inner.scan(call, plan)
    }

    fn keyspaces(self: &Arc<Self>, call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        self.inner.keyspaces(call, after)
    }

    fn drop_keyspace(self: &Arc<Self>, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        self.inner.drop_keyspace(call, drop)
    }

    fn health(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<Health> {
        self.inner.health(call)
    }
}

async fn storage(fault: &str) -> Storage {
    let plugin = Plugin::linked(keyway_sdk::linked::<Forgetful>()).unwrap();
    let backend = BackendConfig {
        name: "main".into(),
        config: json!({ "fault": fault }),
        data_dir: Path::new(".").into(),
    };
    Storage::new(Arc::new(configure(&plugin, &backend).await.unwrap()))
}

fn mount() -> Mount {
    let (accessor, engine) = ("kv_1".to_owned(), "secrets".to_owned());
    Mount { uuid: Uuid::from_u128(1), accessor, engine, backend: "main".to_owned(), created: String::new() }
}

#[tokio::test]
async fn write_of_unknown_outcome_is_looked_up_and_written_once() {
    for fault in ["first_done", "first_lost"] {
        let (storage, mount) = (storage(fault).await, mount());
        let keyring = Keyring::new(Uuid::from_u128(2)).unwrap();
        let engine = Engine::new(&keyring, &mount, &storage, REQUEST);
        let path = SecretPath::parse("a").unwrap();
        let written = engine.write(&path, &Write { value: b"{\"n\":1}", cas: Some(0) }).await.unwrap();
        assert_eq!(written.version, 1, "{fault}");
        let metadata = engine.metadata(&path).await.unwrap().unwrap();
        assert_eq!((metadata.current_version, metadata.versions.len()), (1, 1), "{fault}");
        let Read::Value(found, value) = engine.read(&path, None).await.unwrap() else {
            unreachable!("{fault}: the secret is missing")
        };
        assert_eq!((found.version, value.as_slice()), (1, &b"{\"n\":1}"[..]), "{fault}");
    }
}

#[tokio::test]
async fn write_whose_outcome_stays_unknown_says_so() {
    let (storage, mount) = (storage("all_lost").await, mount());
    let keyring = Keyring::new(Uuid::from_u128(2)).unwrap();
    let engine = Engine::new(&keyring, &mount, &storage, REQUEST);
    let path = SecretPath::parse("a").unwrap();
    let error = engine.write(&path, &Write { value: b"{}", cas: None }).await.unwrap_err();
    assert!(matches!(&error, EngineError::Storage(error) if error.is_unknown()), "{error}");
}

#[tokio::test]
async fn removal_of_unknown_outcome_leaves_no_version_behind() {
    let (storage, mount) = (storage("deletion_done").await, mount());
    let keyring = Keyring::new(Uuid::from_u128(2)).unwrap();
    let engine = Engine::new(&keyring, &mount, &storage, REQUEST);
    let path = SecretPath::parse("a").unwrap();
    for _ in 0..3 {
        engine.write(&path, &Write { value: b"{}", cas: None }).await.unwrap();
    }
    let keyspace = mount.keyspace();
    let count = async || storage.scan(REQUEST, Scan::prefix(&keyspace, b"")).await.unwrap().len();
    assert_eq!(count().await, 3, "the metadata with the current version, and two older ones");
    engine.remove(&path).await.unwrap();
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn initialisation_of_unknown_outcome_gives_the_shares_that_unlock() {
    for fault in ["first_done", "first_lost"] {
        let storage = storage(fault).await;
        let made = initialise(&storage, REQUEST, ShareCounts::new(3, 2).unwrap()).await.unwrap();
        let record = SealRecord::load(&storage, REQUEST).await.unwrap().unwrap();
        assert!(record.unlock(&made.shares).is_some(), "{fault}");
    }
    let lost = storage("all_lost").await;
    assert!(initialise(&lost, REQUEST, ShareCounts::new(3, 2).unwrap()).await.is_err());
    assert!(SealRecord::load(&lost, REQUEST).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_without_batches_lose_no_version() {
    const WRITERS: u64 = 16;
    let storage = Arc::new(storage("none").await);
    let keyring = Arc::new(Keyring::new(Uuid::from_u128(2)).unwrap());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (storage, keyring) = (Arc::clone(&storage), Arc::clone(&keyring));
            tokio::spawn(async move {
                let mount = mount();
                let engine = Engine::new(&keyring, &mount, &storage, REQUEST);
                let value = format!("{{\"writer\":{writer}}}");
                let path = SecretPath::parse("shared").unwrap();
                engine.write(&path, &Write { value: value.as_bytes(), cas: None }).await.unwrap().version
            })
        })
        .collect();
    let mut versions = Vec::new();
    for writer in writers {
        versions.push(writer.await.unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=WRITERS).collect::<Vec<_>>());
    let mount = mount();
    let engine = Engine::new(&keyring, &mount, &storage, REQUEST);
    for version in versions {
        let read = engine.read(&SecretPath::parse("shared").unwrap(), Some(version)).await.unwrap();
        assert!(matches!(read, Read::Value(..)), "version {version}");
    }
}
