//! The SDK's trait over the client. Everything is pending: it all goes to the server.

use std::sync::Arc;

use keyway_sdk::{
    AbiBytes, Backend, BackupLevel, BackupStream, Batch, BatchMode, BatchResult, Begin, CallContext,
    Capabilities, Delete, DropKeyspace, Durability, Features, Health, Isolation, Key, Limits, OpResult,
    OpenContext, Page, PluginInfo, Put, ReadConsistency, Record, Records, Reply, RestoreMode, RestoreSink,
    Result, ScanOrder, Sharing, Transaction, Version, paging::ScanPlan,
};

use crate::{
    backup::PostgresBackup,
    client::{Client, TRANSACTION_AGE_MS},
    config::{Config, SCHEMA},
    connect::Parameter,
    error::{self, Effect},
    extension, health,
    ops::{On, owned},
    restore::PostgresRestore,
    rows::{OwnedOp, column, failed_condition, record},
    session::Deadline,
    sql::{self, Sql},
    transaction::PostgresTransaction,
    upkeep, write,
};

/// Most names that one answer of `keyspaces` holds.
const KEYSPACES_PAGE: i64 = 1_000;
/// How many keys are read among other calls' point reads; with more, an answer may be long.
const FEW: usize = 8;
/// The most transactions that any configuration allows.
const MOST_TRANSACTIONS: u64 = 500;

/// A store in one schema of a PostgreSQL database.
pub struct Postgres {
    client: Arc<Client>,
}

impl Postgres {
    /// A call: kept in until it is answered, with its deadline.
    fn call<T, F>(&self, call: &CallContext<'_>, work: impl FnOnce(Arc<Client>, Deadline) -> F) -> Reply<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let entered = match self.client.enter() {
            Ok(entered) => entered,
            Err(error) => return Reply::ready(Err(error)),
        };
        let work = work(Arc::clone(&self.client), Deadline::of(call));
        Reply::pending(async move {
            let answer = work.await;
            drop(entered);
            answer
        })
    }
}

impl Backend for Postgres {
    type Config = Config;

    const RUNTIME_THREADS: usize = 1;

    const PLUGIN: PluginInfo = PluginInfo {
        name: "postgres",
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
            sharing: Sharing::MANY_HOSTS,
            features: Features::ATOMIC_BATCH
                .union(Features::EXPIRY)
                .union(Features::REVERSE_SCAN)
                .union(Features::RESTORE),
            limits: Limits {
                transactions: MOST_TRANSACTIONS,
                transaction_age_ms: TRANSACTION_AGE_MS,
                ..Limits::USUAL
            },
            ..Capabilities::LEAST
        },
        extensions: extension::NAMES,
    };

    fn open(config: Config, context: OpenContext) -> Reply<Self> {
        Reply::pending(async move {
            let client = Client::open(config, context).await?;
            tokio::spawn(upkeep::run(Arc::downgrade(&client), client.upkeep()));
            Ok(Self { client })
        })
    }

    fn capabilities(&self) -> Capabilities {
        let most = Self::PLUGIN.capabilities;
        Capabilities {
            data_format: Self::PLUGIN.data_format,
            durability: self.client.durability(),
            limits: Limits {
                transactions: (self.client.most_streams() as u64).min(MOST_TRANSACTIONS),
                ..most.limits
            },
            ..most
        }
    }

    fn get(self: &Arc<Self>, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        let (keyspace, key) = owned(key);
        self.call(call, |client, deadline| async move {
            let rows = client.read("get", deadline, Sql::Get, &[&keyspace, &key]).await?;
            rows.first().map(|row| record(row, 0, "get", |number| client.version(number))).transpose()
        })
    }

    fn get_many(self: &Arc<Self>, call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records> {
        let (keyspaces, keys): (Vec<_>, Vec<_>) = keys.iter().copied().map(owned).unzip();
        self.call(call, |client, deadline| async move {
            let parameters: [Parameter<'_>; 2] = [&keyspaces, &keys];
            let rows = if keys.len() <= FEW {
                client.read("get_many", deadline, Sql::GetMany, &parameters).await?
            } else {
                client.read_alone("get_many", deadline, Sql::GetMany, &parameters).await?
            };
            let mut found: Vec<Option<Record>> = std::iter::repeat_with(|| None).take(keys.len()).collect();
            for row in &rows {
                let nth: i32 = column(row, 0, "get_many")?;
                let place = usize::try_from(nth - 1).ok().and_then(|place| found.get_mut(place));
                let place = place.ok_or_else(|| error::unexpected("get_many"))?;
                *place = Some(record(row, 1, "get_many", |number| client.version(number))?);
            }
            let mut records = Records::with_capacity(found.len());
            found.into_iter().for_each(|record| records.push(record));
            Ok(records)
        })
    }

    fn put(self: &Arc<Self>, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        let op = OwnedOp::put(&put);
        self.call(call, |client, deadline| async move {
            let written = write::write(&client, deadline, op).await?;
            let number = written.version.ok_or_else(|| error::unexpected("put").with_unknown_outcome())?;
            Ok(client.version(number))
        })
    }

    fn delete(self: &Arc<Self>, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let op = OwnedOp::delete(&delete);
        self.call(
            call,
            |client, deadline| async move { Ok(write::write(&client, deadline, op).await?.existed) },
        )
    }

    fn scan(self: &Arc<Self>, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        let plan = plan.into_owned();
        self.call(call, |client, deadline| async move {
            let mut turn = client.turn(deadline).await?;
            let mut on = On { session: &mut turn.session, effect: Effect::None, deadline };
            on.scan(plan, |number| client.version(number)).await
        })
    }

    fn apply(self: &Arc<Self>, call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        let ops: Vec<OwnedOp> = batch.ops().iter().map(OwnedOp::of).collect();
        let is_atomic = batch.mode() == BatchMode::Atomic;
        self.call(call, move |client, deadline| async move {
            let mut turn = client.turn(deadline).await?;
            let mut on = On { session: &mut turn.session, effect: Effect::Commits, deadline };
            let applied = on.apply(&ops, is_atomic, 0, |version| client.number(version)).await?;
            let failed = |nth: usize| {
                let condition = ops.get(nth).map_or(keyway_sdk::Condition::Any, |op| op.condition);
                failed_condition(condition)
            };
            if is_atomic && let Some(first) = applied.iter().find(|one| !one.is_done) {
                return Err(failed(first.nth).with_index(first.nth));
            }
            if applied.len() != ops.len() {
                return Err(error::unexpected("apply").with_unknown_outcome());
            }
            let result = |one: &crate::rows::Applied| {
                if !one.is_done {
                    return Err(failed(one.nth));
                }
                Ok(match one.version {
                    Some(number) => OpResult::written(client.version(number), one.existed),
                    None => OpResult::unversioned(one.existed),
                })
            };
            Ok(applied.iter().map(result).collect())
        })
    }

    fn begin(self: &Arc<Self>, call: &CallContext<'_>, begin: Begin) -> Reply<Box<dyn Transaction>> {
        self.call(call, move |client, deadline| async move {
            let transaction = PostgresTransaction::begin(client, deadline, begin).await?;
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        })
    }

    fn keyspaces(self: &Arc<Self>, call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        let after = after.as_bytes().to_vec();
        self.call(call, |client, deadline| async move {
            let rows =
                client.read_alone("keyspaces", deadline, Sql::Keyspaces, &[&after, &KEYSPACES_PAGE]).await?;
            rows.iter().map(|row| keyspace(row, 0, "keyspaces")).collect()
        })
    }

    fn drop_keyspace(self: &Arc<Self>, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        let name = drop.name().as_bytes().to_vec();
        self.call(call, |client, deadline| async move {
            let rows = client.write("drop_keyspace", deadline, Sql::DropKeyspace, &[&name]).await?;
            client.want_upkeep();
            let row =
                rows.first().ok_or_else(|| error::unexpected("drop_keyspace").with_unknown_outcome())?;
            column(row, 0, "drop_keyspace")
        })
    }

    fn health(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<Health> {
        self.call(call, |client, deadline| async move { Ok(health::health(&client, deadline).await) })
    }

    fn backup(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<Box<dyn BackupStream>> {
        self.call(call, |client, deadline| async move {
            Ok(Box::new(PostgresBackup::begin(client, deadline).await?) as Box<dyn BackupStream>)
        })
    }

    fn restore(self: &Arc<Self>, call: &CallContext<'_>, mode: RestoreMode) -> Reply<Box<dyn RestoreSink>> {
        self.call(call, move |client, deadline| async move {
            Ok(Box::new(PostgresRestore::begin(client, deadline, mode).await?) as Box<dyn RestoreSink>)
        })
    }

    fn upgrade(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<u32> {
        self.call(call, |client, deadline| async move { client.upgrade(deadline).await })
    }

    fn extension(self: &Arc<Self>, call: &CallContext<'_>, name: &str, request: &[u8]) -> Reply<AbiBytes> {
        let (name, request) = (name.to_owned(), request.to_vec());
        self.call(
            call,
            |client, deadline| async move { extension::run(&client, deadline, &name, &request).await },
        )
    }

    fn shutdown(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<()> {
        let (client, deadline) = (Arc::clone(&self.client), Deadline::of(call));
        Reply::pending(async move { client.close(deadline).await })
    }
}

/// A keyspace's name.
pub(crate) fn keyspace(row: &tokio_postgres::Row, index: usize, doing: &str) -> Result<String> {
    let name: &[u8] = column(row, index, doing)?;
    String::from_utf8(name.to_vec()).map_err(|_| error::unexpected(doing))
}
