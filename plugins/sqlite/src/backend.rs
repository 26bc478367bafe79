//! The SDK's trait over the client. Point reads are answered inline; whatever writes, scans or waits is pending.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use keyway_sdk::{
    Backend, BackupLevel, Batch, BatchResult, Begin, CallContext, Capabilities, Delete, DropKeyspace,
    Durability, Features, Health, Isolation, Key, Limits, OpenContext, Page, PluginInfo, Put,
    ReadConsistency, Record, Records, Reply, Result, ScanOrder, Sharing, Transaction, Version,
    backend::check_condition, paging::ScanPlan,
};
use rusqlite::Connection;

use crate::{
    client::{Client, TRANSACTIONS},
    config::{Config, SCHEMA},
    error, sql,
    transaction::{self, SqliteTransaction},
    write::{OwnedOp, Writing, apply_batch},
};

/// Most names that one answer of `keyspaces` holds.
const KEYSPACES_PAGE: u32 = 1_000;

/// A store in one SQLite file.
pub struct Sqlite {
    client: Client,
}

/// The largest number of point reads that `get_many` does on the caller's thread.
const INLINE_KEYS: usize = 4;

impl Sqlite {
    /// Runs `work` in a transaction of its own on the writer's thread; acknowledged after the sync.
    fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        let versions = self.client.versions();
        self.client.write(move |connection| {
            let written = sql::begin_write(connection)
                .map_err(|source| error::failed(doing, &source))
                .and_then(|()| Writing::begin(connection, versions, doing))
                .and_then(|mut writing| {
                    let value = work(&mut writing)?;
                    writing.finish()?;
                    Ok(value)
                });
            let committed = written.and_then(|value| {
                sql::commit(connection).map_err(|source| error::commit_failed(&source))?;
                Ok(value)
            });
            if committed.is_err() {
                // A failed rollback leaves the transaction open: the next begin fails, and tries this again.
                if let Err(source) = sql::rollback(connection) {
                    tracing::error!(%source, "rollback failed");
                }
            }
            committed
        })
    }
}

fn health_of(connection: &Connection, begun: Instant) -> Health {
    let readable = sql::try_read(connection);
    let writable = sql::begin_write(connection).and_then(|()| sql::try_write(connection));
    let undone = sql::rollback(connection);
    match (readable, writable.and(undone)) {
        (Ok(()), Ok(())) => Health::ok(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)),
        (readable, writable) => {
            let ok = (readable.is_ok(), writable.is_ok());
            let reason = readable.err().or(writable.err());
            let detail =
                reason.map(|source| error::failed("health", &source).to_string()).unwrap_or_default();
            Health::degraded(ok.0, ok.1, detail)
        }
    }
}

impl Backend for Sqlite {
    type Config = Config;

    const PLUGIN: PluginInfo = PluginInfo {
        name: "sqlite",
        version: env!("CARGO_PKG_VERSION"),
        description: env!("CARGO_PKG_DESCRIPTION"),
        licence: env!("CARGO_PKG_LICENSE"),
        homepage: "",
        config_schema: SCHEMA,
        data_format: sql::DATA_FORMAT,
        sharing: Sharing::ONE_OPENER,
        extensions: &[],
    };

    fn open(config: Config, context: OpenContext) -> Reply<Self> {
        let path = context.data_dir().join(Path::new(&config.path));
        Reply::ready(Client::open(path, context).map(|client| Self { client }))
    }

    fn capabilities(&self) -> Capabilities {
        let limits = Limits { transactions: TRANSACTIONS, ..Limits::default() };
        Capabilities {
            read_consistency: ReadConsistency::LINEARIZABLE,
            isolation: Isolation::SERIALIZABLE,
            durability: Durability::POWER_LOSS,
            scan_order: ScanOrder::BYTEWISE,
            backup: BackupLevel::NONE,
            sharing: Sharing::ONE_OPENER,
            data_format: sql::DATA_FORMAT,
            features: Features::ATOMIC_BATCH
                .union(Features::BLOCKS_WRITERS)
                .union(Features::EXPIRY)
                .union(Features::REVERSE_SCAN)
                .union(Features::INLINE_GET),
            limits,
            ..Capabilities::default()
        }
    }

    fn get(self: &Arc<Self>, _call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        let at = self.client.versions().at();
        let failed = |source: rusqlite::Error| error::failed("get", &source);
        if let Some(connection) = self.client.idle() {
            return Reply::ready(sql::get(&connection, at, key.keyspace(), key.bytes()).map_err(failed));
        }
        let (keyspace, key) = (key.keyspace().to_owned(), key.bytes().to_vec());
        self.client.read(move |connection| sql::get(connection, at, &keyspace, &key).map_err(failed))
    }

    fn get_many(self: &Arc<Self>, _call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records> {
        let at = self.client.versions().at();
        let failed = |source: rusqlite::Error| error::failed("get_many", &source);
        if let Some(connection) = (keys.len() <= INLINE_KEYS).then(|| self.client.idle()).flatten() {
            let records = keys.iter().map(|key| sql::get(&connection, at, key.keyspace(), key.bytes()));
            return Reply::ready(records.collect::<rusqlite::Result<Records>>().map_err(failed));
        }
        let keys: Vec<_> = keys.iter().map(|key| (key.keyspace().to_owned(), key.bytes().to_vec())).collect();
        self.client.read(move |connection| {
            let records = keys.iter().map(|(keyspace, key)| sql::get(connection, at, keyspace, key));
            records.collect::<rusqlite::Result<Records>>().map_err(failed)
        })
    }

    fn put(self: &Arc<Self>, _call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        let op = OwnedOp::put(&put);
        self.write("put", move |writing| {
            check_condition(op.condition, writing.current(&op.keyspace, &op.key)?)?;
            writing.put(&op.keyspace, &op.key, &op.value, op.expires_at_ms)
        })
    }

    fn delete(self: &Arc<Self>, _call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let op = OwnedOp::delete(&delete);
        self.write("delete", move |writing| {
            let current = writing.current(&op.keyspace, &op.key)?;
            check_condition(op.condition, current)?;
            writing.delete(&op.keyspace, &op.key)?;
            Ok(current.is_some())
        })
    }

    fn scan(self: &Arc<Self>, _call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        let (at, plan) = (self.client.versions().at(), plan.into_owned());
        self.client.read(move |connection| {
            sql::scan(connection, at, plan).map_err(|source| error::failed("scan", &source))
        })
    }

    fn apply(self: &Arc<Self>, _call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        let ops: Vec<OwnedOp> = batch.ops().iter().map(OwnedOp::of).collect();
        let mode = batch.mode();
        self.write("apply", move |writing| apply_batch(writing, &ops, mode))
    }

    fn begin(self: &Arc<Self>, _call: &CallContext<'_>, begin: Begin) -> Reply<Box<dyn Transaction>> {
        let age = Duration::from_millis(self.capabilities().limits.transaction_age_ms);
        let (transaction, serve) = SqliteTransaction::prepare(self.client.versions(), begin.read_only, age);
        let begun = if begin.read_only {
            transaction::begin_read(&self.client, serve)
        } else {
            transaction::begin_write(&self.client, serve)
        };
        begun.map(|()| Box::new(transaction) as Box<dyn Transaction>)
    }

    fn keyspaces(self: &Arc<Self>, _call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        let after = after.to_owned();
        self.client.read(move |connection| {
            sql::keyspaces(connection, &after, KEYSPACES_PAGE)
                .map_err(|source| error::failed("keyspaces", &source))
        })
    }

    fn drop_keyspace(self: &Arc<Self>, _call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        let keyspace = drop.name().to_owned();
        self.write("drop_keyspace", move |writing| writing.drop_keyspace(&keyspace))
    }

    fn health(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Health> {
        let begun = Instant::now();
        self.client.write(move |connection| Ok(health_of(connection, begun)))
    }

    fn shutdown(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<()> {
        self.client.close()
    }
}
