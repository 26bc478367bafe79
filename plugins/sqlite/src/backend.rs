//! The SDK's trait over the client. Point reads are answered inline; writes, scans and waits are pending.

use std::{sync::Arc, time::Duration};

use keyway_sdk::{
    Backend, BackupLevel, BackupStream, Batch, BatchResult, Begin, CallContext, Capabilities, Delete,
    DropKeyspace, Durability, Features, Health, Isolation, Key, Limits, OpenContext, Page, PluginInfo, Put,
    ReadConsistency, Record, Records, Reply, RestoreMode, RestoreSink, ScanOrder, Sharing, Transaction,
    Version, backend::check_condition, paging::ScanPlan,
};
use rusqlite::Connection;

use crate::{
    backup::SqliteBackup,
    client::{Client, TRANSACTIONS},
    config::{Config, SCHEMA},
    health,
    queue::Size,
    readers::in_its_format,
    restore::SqliteRestore,
    sql::{self, At, Format, Found},
    transaction::{self, SqliteTransaction},
    upgrade::upgrade,
    write::{OwnedOp, TRANSACTION_OPS, apply_batch},
};

/// Most names that one answer of `keyspaces` holds.
const KEYSPACES_PAGE: u32 = 1_000;

/// The largest number of point reads that `get_many` does on the caller's thread.
const INLINE_KEYS: usize = 8;

/// The largest value that is read on the caller's thread, in bytes.
const INLINE_BYTES: u64 = 64 * 1024;

/// How long a transaction may stay open, in milliseconds. Other writers wait that long for one that writes:
/// half of what a host usually waits for an answer.
const TRANSACTION_AGE_MS: u64 = 5_000;

/// A store in one SQLite file.
pub struct Sqlite {
    client: Arc<Client>,
    /// The format of the file when it was opened; the capabilities tell this one.
    opened: Format,
}

impl Sqlite {
    /// Reads on a separate thread.
    fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl Fn(&Connection, At) -> rusqlite::Result<T> + Send + 'static,
    ) -> Reply<T> {
        let at = self.client.shared().versions().at();
        match self.client.reads() {
            Ok(reads) => {
                reads.read(move |connection| in_its_format(connection, at, doing, |at| read(connection, at)))
            }
            Err(error) => Reply::ready(Err(error)),
        }
    }
}

/// The records of several keys as they were at one time; none if one of them is too large to be read here.
fn small_records(connection: &Connection, at: At, keys: &[Key<'_>]) -> rusqlite::Result<Option<Records>> {
    let mut records = Records::with_capacity(keys.len());
    for key in keys {
        match sql::get_up_to(connection, at, key.keyspace(), key.bytes(), INLINE_BYTES)? {
            Found::Record(record) => records.push(Some(record)),
            Found::Nothing => records.push(None),
            Found::Large => return Ok(None),
        }
    }
    Ok(Some(records))
}

/// What a file of every format can.
const FEATURES: Features = Features::ATOMIC_BATCH
    .union(Features::BLOCKS_WRITERS)
    .union(Features::EXPIRY)
    .union(Features::REVERSE_SCAN)
    .union(Features::INLINE_GET);

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
        capabilities: Capabilities {
            read_consistency: ReadConsistency::LINEARIZABLE,
            isolation: Isolation::SERIALIZABLE,
            durability: Durability::POWER_LOSS,
            scan_order: ScanOrder::BYTEWISE,
            backup: BackupLevel::POINT_IN_TIME,
            sharing: Sharing::ONE_OPENER,
            features: FEATURES.union(Features::RESTORE),
            limits: Limits {
                transactions: TRANSACTIONS,
                transaction_age_ms: TRANSACTION_AGE_MS,
                transaction_ops: TRANSACTION_OPS,
                ..Limits::USUAL
            },
            ..Capabilities::LEAST
        },
        extensions: &[],
    };

    fn open(config: Config, context: OpenContext) -> Reply<Self> {
        Reply::ready(Client::open(&config, context).map(|client| {
            let opened = client.shared().versions().at().format();
            Self { client: Arc::new(client), opened }
        }))
    }

    fn capabilities(&self) -> Capabilities {
        let most = Self::PLUGIN.capabilities;
        Capabilities {
            data_format: self.opened.number(),
            features: match self.opened {
                // In this format, records cannot be written next to the ones in use.
                Format::One => FEATURES,
                Format::Two => most.features,
            },
            ..most
        }
    }

    fn get(self: &Arc<Self>, _call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        if let Some(connection) = self.client.idle() {
            let at = self.client.shared().versions().at();
            let found = in_its_format(&connection, at, "get", |at| {
                sql::get_up_to(&connection, at, key.keyspace(), key.bytes(), INLINE_BYTES)
            });
            match found {
                Ok(Found::Record(record)) => return Reply::ready(Ok(Some(record))),
                Ok(Found::Nothing) => return Reply::ready(Ok(None)),
                Ok(Found::Large) => {}
                Err(error) => return Reply::ready(Err(error)),
            }
        }
        let (keyspace, key) = (key.keyspace().to_owned(), key.bytes().to_vec());
        self.read("get", move |connection, at| sql::get(connection, at, &keyspace, &key))
    }

    fn get_many(self: &Arc<Self>, _call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records> {
        if let Some(connection) = (keys.len() <= INLINE_KEYS).then(|| self.client.idle()).flatten() {
            let at = self.client.shared().versions().at();
            let records = in_its_format(&connection, at, "get_many", |at| {
                sql::in_snapshot(&connection, || small_records(&connection, at, keys))
            });
            match records {
                Ok(Some(records)) => return Reply::ready(Ok(records)),
                Ok(None) => {}
                Err(error) => return Reply::ready(Err(error)),
            }
        }
        let keys: Vec<_> = keys.iter().map(|key| (key.keyspace().to_owned(), key.bytes().to_vec())).collect();
        self.read("get_many", move |connection, at| {
            sql::in_snapshot(connection, || {
                keys.iter().map(|(keyspace, key)| sql::get(connection, at, keyspace, key)).collect()
            })
        })
    }

    fn put(self: &Arc<Self>, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        let op = OwnedOp::put(&put);
        let size = Size { ops: 1, bytes: op.bytes() };
        self.client.write(call, "put", size, move |writing| {
            check_condition(op.condition, writing.current_if_needed(&op)?)?;
            writing.put(&op)
        })
    }

    fn delete(self: &Arc<Self>, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let op = OwnedOp::delete(&delete);
        let size = Size { ops: 1, bytes: op.bytes() };
        self.client.write(call, "delete", size, move |writing| {
            let current = writing.current(&op.keyspace, &op.key)?;
            check_condition(op.condition, current)?;
            writing.delete(&op.keyspace, &op.key)?;
            Ok(current.is_some())
        })
    }

    fn scan(self: &Arc<Self>, _call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        let plan = plan.into_owned();
        let shared = Arc::clone(self.client.shared());
        self.read("scan", move |connection, at| {
            let (page, visited) = sql::scan(connection, at, plan.clone())?;
            shared.context().count("scanned_rows_total", visited as f64);
            Ok(page)
        })
    }

    fn apply(self: &Arc<Self>, call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        let ops: Vec<OwnedOp> = batch.ops().iter().map(OwnedOp::of).collect();
        let mode = batch.mode();
        let size = Size { ops: ops.len(), bytes: ops.iter().map(OwnedOp::bytes).sum() };
        self.client.write(call, "apply", size, move |writing| apply_batch(writing, &ops, mode))
    }

    fn begin(self: &Arc<Self>, _call: &CallContext<'_>, begin: Begin) -> Reply<Box<dyn Transaction>> {
        let age = Duration::from_millis(TRANSACTION_AGE_MS);
        let (transaction, serve) = SqliteTransaction::prepare(self.client.shared(), begin.read_only, age);
        let begun = if begin.read_only {
            transaction::begin_read(&self.client, serve)
        } else {
            transaction::begin_write(&self.client, serve)
        };
        begun.map(|()| Box::new(transaction) as Box<dyn Transaction>)
    }

    fn keyspaces(self: &Arc<Self>, _call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        let after = after.to_owned();
        self.read("keyspaces", move |connection, at| {
            sql::keyspaces(connection, at.format(), &after, KEYSPACES_PAGE)
        })
    }

    fn drop_keyspace(self: &Arc<Self>, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        let keyspace = drop.name().to_owned();
        let shared = Arc::clone(self.client.shared());
        self.client.write(call, "drop_keyspace", Size { ops: 1, bytes: 0 }, move |writing| {
            shared.want_upkeep();
            writing.drop_keyspace(&keyspace)
        })
    }

    fn health(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<Health> {
        health::health(&self.client, call)
    }

    fn backup(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Box<dyn BackupStream>> {
        SqliteBackup::begin(&self.client)
    }

    fn restore(self: &Arc<Self>, call: &CallContext<'_>, mode: RestoreMode) -> Reply<Box<dyn RestoreSink>> {
        SqliteRestore::begin(call, &self.client, mode)
    }

    fn upgrade(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<u32> {
        let shared = Arc::clone(self.client.shared());
        match self.client.writes() {
            Ok(writes) => writes.alone(move |connection| upgrade(connection, &shared)),
            Err(error) => Reply::ready(Err(error)),
        }
    }

    fn shutdown(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<()> {
        self.client.close()
    }
}
