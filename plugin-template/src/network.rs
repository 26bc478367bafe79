//! The backend over a server on the network, with an asynchronous client.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use keyway_sdk::{
    AbiBytes, Backend, Batch, BatchMode, BatchResult, CallContext, Capabilities, Delete, DropKeyspace,
    Durability, Error, ErrorCode, Features, Health, Key, Op, OpKind, OpResult, OpenContext, Page, PluginInfo,
    Put, ReadConsistency, Record, Reply, Result, ScanOrder, Sharing, Version,
    paging::{Pager, ScanPlan, Step},
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

use crate::{
    network_client::Client,
    network_protocol::{Action, Applied, Change, Condition, Request, Response},
};

/// Most records of one answer to a scan.
const RECORDS: usize = 1_000;

/// What an operator may set. An unknown setting is an error.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(crate = "serde", default, deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub struct Config {
    /// The server, as HOST:PORT.
    pub address: String,
    /// How long a request may take, in milliseconds.
    pub timeout_ms: u64,
    /// The most connections at a time.
    pub max_connections: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { address: "127.0.0.1:7410".to_owned(), timeout_ms: 10_000, max_connections: 16 }
    }
}

/// A store on a server.
pub struct Store(Client);

impl Store {
    async fn apply_one(&self, change: Change) -> Result<OpResult> {
        let mut results = self.apply_all(vec![change], false).await?;
        results
            .pop()
            .unwrap_or_else(|| Err(Error::new(ErrorCode::INTERNAL, "no answer").with_unknown_outcome()))
    }

    async fn apply_all(&self, changes: Vec<Change>, is_atomic: bool) -> Result<Vec<Result<OpResult>>> {
        let count = changes.len();
        let applied = match self.0.ask(Request::Apply { changes, is_atomic }).await? {
            Response::Applied(applied) => applied,
            _ => return Err(self.0.unexpected()),
        };
        let results = applied.into_iter().map(result).collect::<Vec<_>>();
        if is_atomic && let Some((index, Err(error))) = results.iter().enumerate().find(|(_, r)| r.is_err()) {
            return Err(error.clone().with_index(index));
        }
        if results.len() != count {
            return Err(self.0.unexpected());
        }
        Ok(results)
    }

    async fn page(&self, plan: ScanPlan<'static>) -> Result<Page> {
        let mut pager = Pager::new(plan);
        'seek: while !pager.plan().is_empty() {
            let mut lower = pager.plan().lower().to_vec();
            loop {
                // One more than fits, to see whether more follows.
                let limit = (pager.room() + 1).min(RECORDS);
                let request = Request::Scan {
                    keyspace: pager.plan().keyspace().to_owned(),
                    lower: lower.clone(),
                    upper: pager.plan().upper().map(<[u8]>::to_vec),
                    limit: u32::try_from(limit).unwrap_or(u32::MAX),
                    max_bytes: pager.plan().max_bytes(),
                    keys_only: pager.plan().is_keys_only(),
                };
                let Response::Records(records, is_last) = self.0.ask(request).await? else {
                    return Err(self.0.unexpected());
                };
                for (key, value, version) in records {
                    let version = version_of(&version)?;
                    // The smallest key after this one.
                    lower = [&key[..], &[0]].concat();
                    let step = pager.offer(&key, value.len(), || {
                        (AbiBytes::copy_from_slice(&key), Record::new(value.into_vec(), version))
                    });
                    match step {
                        Step::Next => {}
                        Step::Seek => continue 'seek,
                        Step::Done => break 'seek,
                    }
                }
                if is_last {
                    break 'seek;
                }
            }
        }
        Ok(pager.finish())
    }
}

impl Backend for Store {
    type Config = Config;

    const PLUGIN: PluginInfo = PluginInfo {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        description: env!("CARGO_PKG_DESCRIPTION"),
        licence: env!("CARGO_PKG_LICENSE"),
        homepage: env!("CARGO_PKG_HOMEPAGE"),
        config_schema: include_str!("../config.schema.json"),
        data_format: 1,
        // What the server keeps. The one of the tests has its records in memory: they survive this process.
        capabilities: Capabilities {
            read_consistency: ReadConsistency::LINEARIZABLE,
            durability: Durability::PROCESS_CRASH,
            scan_order: ScanOrder::BYTEWISE,
            sharing: Sharing::MANY_HOSTS,
            features: Features::ATOMIC_BATCH,
            ..Capabilities::LEAST
        },
        extensions: &[],
    };

    /// The SDK makes a tokio runtime for this backend, and polls its futures in it.
    const RUNTIME_THREADS: usize = 1;

    fn open(config: Config, _context: OpenContext) -> Reply<Self> {
        Reply::pending(async move {
            let time_limit = Duration::from_millis(config.timeout_ms);
            let client = Client::new(config.address, time_limit, config.max_connections.max(1));
            match client.ask(Request::Ping).await? {
                Response::Pong => Ok(Self(client)),
                _ => Err(client.unexpected()),
            }
        })
    }

    fn get(self: &Arc<Self>, _call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        let (store, place) = (Arc::clone(self), place(key));
        Reply::pending(async move {
            match store.0.ask(Request::Get(place)).await? {
                Response::Record(None) => Ok(None),
                Response::Record(Some((value, version))) => {
                    Ok(Some(Record::new(value.into_vec(), version_of(&version)?)))
                }
                _ => Err(store.0.unexpected()),
            }
        })
    }

    fn put(self: &Arc<Self>, _call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        let change = change(&put.into());
        let store = Arc::clone(self);
        Reply::pending(async move { Ok(store.apply_one(change).await?.version()) })
    }

    fn delete(self: &Arc<Self>, _call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let change = change(&delete.into());
        let store = Arc::clone(self);
        Reply::pending(async move { Ok(store.apply_one(change).await?.existed()) })
    }

    fn scan(self: &Arc<Self>, _call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        let (store, plan) = (Arc::clone(self), plan.into_owned());
        Reply::pending(async move { store.page(plan).await })
    }

    fn apply(self: &Arc<Self>, _call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        let changes = batch.ops().iter().map(change).collect();
        let (store, is_atomic) = (Arc::clone(self), batch.mode() == BatchMode::Atomic);
        Reply::pending(async move { Ok(store.apply_all(changes, is_atomic).await?.into_iter().collect()) })
    }

    fn keyspaces(self: &Arc<Self>, _call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        let (store, after) = (Arc::clone(self), after.to_owned());
        Reply::pending(async move {
            match store.0.ask(Request::Keyspaces(after)).await? {
                Response::Keyspaces(names) => Ok(names),
                _ => Err(store.0.unexpected()),
            }
        })
    }

    fn drop_keyspace(self: &Arc<Self>, _call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        let (store, name) = (Arc::clone(self), drop.name().to_owned());
        Reply::pending(async move {
            match store.0.ask(Request::DropKeyspace(name)).await? {
                Response::Dropped(existed) => Ok(existed),
                _ => Err(store.0.unexpected()),
            }
        })
    }

    fn health(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Health> {
        let (store, begun) = (Arc::clone(self), Instant::now());
        Reply::pending(async move {
            Ok(match store.0.ask(Request::Ping).await {
                Ok(Response::Pong) => {
                    Health::ok(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX))
                }
                Ok(_) => Health::degraded(false, false, store.0.unexpected().message()),
                Err(error) => Health::degraded(false, false, error.message()),
            })
        })
    }
}

fn place(key: Key<'_>) -> (String, Vec<u8>) {
    (key.keyspace().to_owned(), key.bytes().to_vec())
}

fn change(op: &Op<'_>) -> Change {
    let condition = match op.condition() {
        keyway_sdk::Condition::Any => Condition::Any,
        keyway_sdk::Condition::Absent => Condition::Absent,
        keyway_sdk::Condition::Version(version) => Condition::Version(version.as_bytes().to_vec()),
    };
    let action = match op.kind() {
        OpKind::Put => Action::Put(op.value().to_vec().into()),
        OpKind::Delete => Action::Delete,
        OpKind::Check => Action::Check,
    };
    Change { place: place(op.key()), condition, action }
}

fn result(applied: Applied) -> Result<OpResult> {
    match applied {
        Applied::Written(version, existed) => Ok(OpResult::written(version_of(&version)?, existed)),
        Applied::Done(existed) => Ok(OpResult::unversioned(existed)),
        Applied::Exists => Err(Error::new(ErrorCode::ALREADY_EXISTS, "the key exists")),
        Applied::Differs => Err(Error::new(ErrorCode::PRECONDITION_FAILED, "the key has another version")),
    }
}

fn version_of(bytes: &[u8]) -> Result<Version> {
    // A write has happened that is answered so.
    let too_long = || Error::new(ErrorCode::CORRUPT, "the server has sent a version that is too long");
    Version::from_bytes(bytes).ok_or_else(|| too_long().with_unknown_outcome())
}
