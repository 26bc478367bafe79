//! The operations: each is done by the backend within, or struck.

use std::{
    collections::HashMap,
    future,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyway_loader::{Answered, BackendConfig, Chain, Generation, configure::configure, probe};
use keyway_sdk::{
    AbiBytes, Backend, BackupLevel, BackupStream, Batch, BatchResult, Begin, CallContext, Capabilities,
    Delete, DropKeyspace, Durability, Error, ErrorCode, Features, Health, Isolation, Key, Limits,
    OpenContext, Page, PluginInfo, Put, ReadConsistency, Record, Records, Reply, RestoreMode, RestoreSink,
    Result, ScanOrder, Sharing, Transaction, Version,
    paging::ScanPlan,
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

use crate::{
    faults::{Fault, Faults},
    pages::handed_on,
    streams::{Backup, Restore},
    transaction::Struck,
};

/// Another backend with faults.
pub(crate) struct Chaos {
    inner: Arc<Generation>,
    faults: Faults,
    /// What was there before the last write of each key.
    before: Mutex<HashMap<Place, Option<Record>>>,
}

type Place = (String, Vec<u8>);

/// The backend within, and where the faults are.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub(crate) struct Config {
    /// The library of the backend within.
    library: PathBuf,
    /// Its settings.
    #[serde(default)]
    config: serde_json::Value,
    /// The file of the faults; without one that exists, nothing goes wrong.
    faults: PathBuf,
}

/// The kind of a call, which decides the outcome if its answer is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    Writes,
}

/// The most that any backend promises. An open one may promise less.
const MOST: Capabilities = Capabilities {
    read_consistency: ReadConsistency::LINEARIZABLE,
    isolation: Isolation::SERIALIZABLE,
    durability: Durability::REPLICATED,
    scan_order: ScanOrder::BYTEWISE,
    backup: BackupLevel::POINT_IN_TIME,
    sharing: Sharing::MANY_HOSTS,
    features: Features::ATOMIC_BATCH
        .union(Features::BLOCKS_WRITERS)
        .union(Features::EXPIRY)
        .union(Features::REVERSE_SCAN)
        .union(Features::RESTORE)
        .union(Features::DETECTS_REWIND),
    limits: Limits {
        key_bytes: 65_536,
        transactions: 10_000,
        transaction_age_ms: 3_600_000,
        ..Limits::USUAL
    },
    ..Capabilities::LEAST
};

/// The features without the one that a layer cannot keep.
fn not_inline(features: Features) -> Features {
    let kept =
        Features::NAMED.iter().filter(|(_, one)| features.contains(*one) && *one != Features::INLINE_GET);
    kept.fold(Features::EMPTY, |all, (_, one)| all.union(*one))
}

fn lost(effect: Effect) -> Error {
    let error = Error::new(ErrorCode::UNAVAILABLE, "the connection was lost");
    if effect == Effect::Writes { error.with_unknown_outcome() } else { error }
}

impl Chaos {
    fn call<T: Answered + Send + 'static>(
        &self,
        (name, keyspace): (&str, Option<&str>),
        effect: Effect,
        inner: impl FnOnce(&Generation) -> keyway_loader::Reply<T>,
    ) -> Reply<T> {
        match self.faults.strike(name, keyspace) {
            Ok(fault) => self.answer(fault, effect, inner),
            Err(error) => Reply::ready(Err(error)),
        }
    }

    /// What the backend within answers, or the fault instead.
    fn answer<T: Answered + Send + 'static>(
        &self,
        fault: Option<Fault>,
        effect: Effect,
        inner: impl FnOnce(&Generation) -> keyway_loader::Reply<T>,
    ) -> Reply<T> {
        match fault {
            Some(Fault::Hang) => Reply::pending(future::pending()),
            Some(Fault::Fail(code)) => Reply::ready(Err(code.error())),
            Some(Fault::Disconnect) => Reply::ready(Err(lost(effect))),
            Some(Fault::LoseAnswer) => {
                let reply = inner(&self.inner);
                Reply::pending(async move { reply.await.and_then(|_| Err(lost(effect))) })
            }
            Some(Fault::HangAfter) => {
                let reply = inner(&self.inner);
                Reply::pending(async move {
                    reply.await?;
                    future::pending().await
                })
            }
            Some(Fault::DelayMs(delay_ms)) => {
                let reply = inner(&self.inner);
                Reply::pending(async move {
                    tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                    reply.await
                })
            }
            // Not faults of a call that is neither a read nor health.
            Some(Fault::Stale | Fault::Unhealthy | Fault::ReadOnly) | None => {
                Reply::pending(inner(&self.inner))
            }
        }
    }

    /// Notes the present record before a write.
    fn remember(&self, key: Key<'_>) {
        // The stores within answer a get at once, or the past stays as it was.
        let reply = self.inner.get(&CallContext::background(), key);
        if reply.is_ready()
            && let Some(Ok(record)) = ready(reply)
        {
            let place = (key.keyspace().to_owned(), key.bytes().to_vec());
            self.before.lock().unwrap_or_else(PoisonError::into_inner).insert(place, record);
        }
    }

    /// What was there before the last write.
    fn stale(&self, key: Key<'_>) -> Option<Record> {
        let place = (key.keyspace().to_owned(), key.bytes().to_vec());
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        before.get(&place).and_then(Option::as_ref).map(|record| {
            Record::new(AbiBytes::copy_from_slice(record.value()), record.version())
                .with_expiry(record.expires_at_ms())
        })
    }
}

/// The result of a reply that is there.
fn ready<T: Answered>(reply: keyway_loader::Reply<T>) -> Option<Result<T>> {
    let mut reply = reply;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future::Future::poll(std::pin::Pin::new(&mut reply), &mut context) {
        std::task::Poll::Ready(result) => Some(result),
        std::task::Poll::Pending => None,
    }
}

impl Backend for Chaos {
    type Config = Config;

    const PLUGIN: PluginInfo = PluginInfo {
        name: "chaos",
        version: env!("CARGO_PKG_VERSION"),
        description: "another backend with faults, for tests",
        licence: env!("CARGO_PKG_LICENSE"),
        homepage: "",
        config_schema: r#"{"type":"object","required":["library","faults"],"properties":{"library":{"type":"string"},"config":{"type":"object"},"faults":{"type":"string"}},"additionalProperties":false}"#,
        data_format: 0,
        capabilities: MOST,
        extensions: &[],
    };
    const RUNTIME_THREADS: usize = 1;

    fn open(config: Config, context: OpenContext) -> Reply<Self> {
        let Config { library, config, faults } = config;
        let faults = Faults::new(faults);
        let refused = |text: String| Error::new(ErrorCode::UNAVAILABLE, text);
        match faults.strike("open", None) {
            Ok(Some(Fault::Hang)) => return Reply::pending(future::pending()),
            Ok(Some(_)) => return Reply::ready(Err(refused("chaos asked for it".to_owned()))),
            Ok(None) => {}
            Err(error) => return Reply::ready(Err(error)),
        }
        let plugin = match probe::child::load(library.clone(), library) {
            Ok(plugin) => plugin,
            Err(why) => return Reply::ready(Err(refused(format!("{}; {}", why.reason, why.fix)))),
        };
        let config = if config.is_null() { serde_json::json!({}) } else { config };
        let (name, data_dir) = (context.backend_name().to_owned(), context.data_dir().to_owned());
        Reply::pending(async move {
            let inner = configure(&plugin, &BackendConfig { name, config, data_dir }).await;
            let inner = Arc::new(inner.map_err(|error| refused(Chain(&error).to_string()))?);
            Ok(Self { inner, faults, before: Mutex::default() })
        })
    }

    fn capabilities(&self) -> Capabilities {
        let within = self.inner.capabilities();
        Capabilities { features: not_inline(within.features), ..within }
    }

    fn get(self: &Arc<Self>, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        match self.faults.strike("get", Some(key.keyspace())) {
            Ok(Some(Fault::Stale)) => Reply::ready(Ok(self.stale(key))),
            Ok(fault) => self.answer(fault, Effect::Reads, |inner| inner.get(call, key)),
            Err(error) => Reply::ready(Err(error)),
        }
    }

    fn get_many(self: &Arc<Self>, call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records> {
        let first = keys.first().map(|key| key.keyspace());
        self.call(("get_many", first), Effect::Reads, |inner| inner.get_many(call, keys))
    }

    fn put(self: &Arc<Self>, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        self.remember(put.key());
        self.call(("put", Some(put.key().keyspace())), Effect::Writes, |inner| inner.put(call, put))
    }

    fn delete(self: &Arc<Self>, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        self.remember(delete.key());
        self.call(("delete", Some(delete.key().keyspace())), Effect::Writes, |inner| {
            inner.delete(call, delete)
        })
    }

    fn scan(self: &Arc<Self>, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        let is_reverse = plan.is_reverse();
        self.call(("scan", Some(plan.keyspace())), Effect::Reads, |inner| inner.scan(call, plan.as_scan()))
            .map(move |page| handed_on(page, is_reverse))
    }

    fn apply(self: &Arc<Self>, call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        batch.ops().iter().for_each(|op| self.remember(op.key()));
        let first = batch.ops().first().map(|op| op.key().keyspace());
        self.call(("apply", first), Effect::Writes, |inner| inner.apply(call, batch))
    }

    fn begin(self: &Arc<Self>, call: &CallContext<'_>, begin: Begin) -> Reply<Box<dyn Transaction>> {
        self.call(("begin", None), Effect::Reads, |inner| inner.begin(call, begin))
            .map(|transaction| Box::new(Struck(transaction)) as Box<dyn Transaction>)
    }

    fn keyspaces(self: &Arc<Self>, call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        self.call(("keyspaces", None), Effect::Reads, |inner| inner.keyspaces(call, after))
    }

    fn drop_keyspace(self: &Arc<Self>, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        self.call(("drop_keyspace", Some(drop.name())), Effect::Writes, |inner| {
            inner.drop_keyspace(call, drop)
        })
    }

    fn health(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<Health> {
        match self.faults.strike("health", None) {
            Ok(Some(Fault::Unhealthy)) => {
                Reply::ready(Ok(Health::degraded(false, false, "chaos: nothing can be read")))
            }
            Ok(Some(Fault::ReadOnly)) => {
                Reply::ready(Ok(Health::degraded(true, false, "chaos: nothing can be written")))
            }
            Ok(Some(Fault::Hang)) => Reply::pending(future::pending()),
            Ok(Some(Fault::Fail(code))) => Reply::ready(Err(code.error())),
            Ok(_) => Reply::pending(self.inner.health(call)),
            Err(error) => Reply::ready(Err(error)),
        }
    }

    fn backup(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<Box<dyn BackupStream>> {
        self.call(("backup", None), Effect::Reads, |inner| inner.backup(call))
            .map(|stream| Box::new(Backup(stream)) as Box<dyn BackupStream>)
    }

    fn restore(self: &Arc<Self>, call: &CallContext<'_>, mode: RestoreMode) -> Reply<Box<dyn RestoreSink>> {
        self.call(("restore", None), Effect::Reads, |inner| inner.restore(call, mode))
            .map(|sink| Box::new(Restore(sink)) as Box<dyn RestoreSink>)
    }

    fn upgrade(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<u32> {
        self.call(("upgrade", None), Effect::Writes, |inner| inner.upgrade(call))
    }

    fn extension(self: &Arc<Self>, call: &CallContext<'_>, name: &str, request: &[u8]) -> Reply<AbiBytes> {
        self.call(("extension", None), Effect::Writes, |inner| inner.extension(call, name, request))
    }

    fn shutdown(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<()> {
        self.call(("shutdown", None), Effect::Reads, |inner| inner.shutdown(call))
    }
}
