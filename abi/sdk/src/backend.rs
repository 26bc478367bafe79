//! The trait that a backend implements.

use std::sync::Arc;

use keyway_abi::{
    AbiBytes, BackupChunk, BackupPull, Batch, BatchMode, BatchResult, Begin, CallContext, Capabilities,
    Committed, Delete, DropKeyspace, Error, ErrorCode, Health, Key, Op, OpKind, OpResult, Page, Put, Record,
    Records, RestoreMode, RestoreRecord, Version, WriteId,
};
use serde::de::DeserializeOwned;

use crate::{OpenContext, PluginInfo, Reply, paging::ScanPlan};

/// A storage backend.
///
/// Methods take `&Arc<Self>`, so that a pending future can own the backend: `let this = Arc::clone(self)`.
/// They may be called from any thread, many at a time. Borrowed arguments live as long as the call, not as
/// long as the future: a pending answer copies the ones that it needs.
///
/// Before a method runs, the SDK has checked what the interface and the declared [`Capabilities`] demand: keyspace
/// names, limits, flags, distinct keys in a batch, cursors. Optional operations have defaults that answer
/// `Unsupported`; one that is not declared is never called.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a storage backend",
    label = "this type does not implement `keyway_sdk::Backend`",
    note = "implement `keyway_sdk::Backend` for it; if it has blocking methods (`keyway_sdk::BlockingBackend`), export \
            `keyway_sdk::Blocking<{Self}>`"
)]
pub trait Backend: Send + Sync + Sized + 'static {
    /// The `config` table of a configured backend. Give it `#[serde(deny_unknown_fields)]`, and a `Debug`
    /// written by hand if it holds a password.
    type Config: DeserializeOwned + schemars::JsonSchema + Send + 'static;

    /// What the library says about itself without being run.
    const PLUGIN: PluginInfo;

    /// Worker threads of the tokio runtime that the SDK makes for this backend and enters around each poll
    /// and drop of its futures. Zero makes none.
    #[cfg(feature = "tokio")]
    const RUNTIME_THREADS: usize = 0;

    /// Opens a store. Creates it if there is none; never migrates one.
    fn open(config: Self::Config, context: OpenContext) -> Reply<Self>;

    /// What this open store promises: all that the plugin does, unless you say less, as for a store of an
    /// older format. Asked once.
    fn capabilities(&self) -> Capabilities {
        Capabilities { data_format: Self::PLUGIN.data_format, ..Self::PLUGIN.capabilities }
    }

    /// The record of a key; a miss is `None`.
    fn get(self: &Arc<Self>, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>>;

    /// The records of several keys, in their order. The default asks for one after the other.
    fn get_many(self: &Arc<Self>, call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records> {
        let mut replies: Vec<_> = keys.iter().map(|key| self.get(call, *key)).collect();
        if replies.iter().all(|reply| matches!(reply.0, crate::reply::Answered::Ready(_))) {
            let mut records = Records::with_capacity(keys.len());
            for reply in replies.drain(..) {
                if let crate::reply::Answered::Ready(result) = reply.0 {
                    match result {
                        Ok(record) => records.push(record),
                        Err(error) => return Reply::ready(Err(error)),
                    }
                }
            }
            return Reply::ready(Ok(records));
        }
        Reply::pending(async move {
            let mut records = Records::with_capacity(replies.len());
            for reply in replies {
                records.push(reply.wait().await?);
            }
            Ok(records)
        })
    }

    /// Writes a record if its condition holds, and answers its new version.
    fn put(self: &Arc<Self>, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version>;

    /// Removes a record if its condition holds, and answers whether it existed.
    fn delete(self: &Arc<Self>, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool>;

    /// One page of keys in order. See [`crate::paging`] for the part that all backends share.
    fn scan(self: &Arc<Self>, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page>;

    /// Several operations on distinct keys. The default does independent ones one after the other and refuses
    /// atomic ones; override it if the store has transactions.
    fn apply(self: &Arc<Self>, call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        if batch.mode() == BatchMode::Atomic {
            return Reply::ready(Err(Error::unsupported("an atomic batch")));
        }
        let replies: Vec<_> =
            batch.ops().iter().map(|op| self.apply_one(call, op, batch.write_id())).collect();
        Reply::pending(async move {
            let mut results = Vec::with_capacity(replies.len());
            for reply in replies {
                results.push(reply.wait().await);
            }
            Ok(results.into_iter().collect())
        })
    }

    /// One operation of an independent batch, by the other methods.
    #[doc(hidden)]
    fn apply_one(
        self: &Arc<Self>,
        call: &CallContext<'_>,
        op: &Op<'_>,
        write_id: WriteId,
    ) -> Reply<OpResult> {
        match op.kind() {
            OpKind::Put => {
                let put = Put::new(op.key(), op.value())
                    .when(op.condition())
                    .expiring_at_ms(op.expires_at_ms().unwrap_or(0))
                    .with_write_id(write_id);
                self.put(call, put).map(|version| OpResult::written(version, false))
            }
            OpKind::Delete => self
                .delete(call, Delete::new(op.key()).when(op.condition()).with_write_id(write_id))
                .map(OpResult::unversioned),
            OpKind::Check => {
                let condition = op.condition();
                let reply = self.get(call, op.key());
                Reply::pending(async move {
                    let record = reply.wait().await?;
                    check_condition(condition, record.as_ref().map(Record::version))?;
                    Ok(OpResult::unversioned(record.is_some()))
                })
            }
        }
    }

    /// Begins a transaction over a snapshot that is fixed now.
    fn begin(self: &Arc<Self>, _call: &CallContext<'_>, _begin: Begin) -> Reply<Box<dyn Transaction>> {
        Reply::ready(Err(Error::unsupported("a transaction")))
    }

    /// The names of the keyspaces after `after`, in order; at most 1,000.
    fn keyspaces(self: &Arc<Self>, call: &CallContext<'_>, after: &str) -> Reply<Vec<String>>;

    /// Removes a keyspace and all its records; answers whether it existed.
    fn drop_keyspace(self: &Arc<Self>, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool>;

    /// The truth, from the store itself.
    fn health(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<Health>;

    /// A stream of all records at one point in time.
    fn backup(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Box<dyn BackupStream>> {
        Reply::ready(Err(Error::unsupported("backup")))
    }

    /// A sink for records; nothing is visible before it is finished.
    fn restore(self: &Arc<Self>, _call: &CallContext<'_>, _mode: RestoreMode) -> Reply<Box<dyn RestoreSink>> {
        Reply::ready(Err(Error::unsupported("restore")))
    }

    /// Migrates the data format forward, in one transaction or not at all; answers the format that the store has
    /// now. The default has nothing to migrate.
    fn upgrade(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<u32> {
        Reply::ready(Ok(Self::PLUGIN.data_format))
    }

    /// An operation of this backend's own.
    fn extension(self: &Arc<Self>, _call: &CallContext<'_>, name: &str, _request: &[u8]) -> Reply<AbiBytes> {
        Reply::ready(Err(Error::new(ErrorCode::NOT_FOUND, format!("there is no extension named {name}"))))
    }

    /// Finishes the calls in flight and closes the store. Idempotent; later calls answer `Closed`.
    fn shutdown(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<()> {
        Reply::ready(Ok(()))
    }
}

/// A transaction. The SDK sees to it that there is one call at a time, and none after commit, rollback or a
/// cancelled call (rollback apart). Dropping it rolls back.
pub trait Transaction: Send + Sync {
    /// As [`Backend::get`], own writes included.
    fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>>;
    /// As [`Backend::put`]; the version comes from the commit.
    fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<()>;
    /// As [`Backend::delete`].
    fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool>;
    /// As [`Backend::scan`], own writes included.
    fn scan(&self, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page>;
    /// Makes all writes visible at once, or none.
    fn commit(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<Committed>;
    /// Forgets all writes.
    fn rollback(&self, call: &CallContext<'_>) -> Reply<()>;
}

/// A backup in progress. Dropping it ends it.
pub trait BackupStream: Send + Sync {
    /// The next records, ordered by keyspace and key.
    fn next(&self, call: &CallContext<'_>, pull: BackupPull) -> Reply<BackupChunk>;
}

/// A restore in progress. Dropping it aborts it.
pub trait RestoreSink: Send + Sync {
    /// Takes records.
    fn write(&self, call: &CallContext<'_>, records: &[RestoreRecord<'_>]) -> Reply<()>;
    /// Makes them visible, all at once; answers how many there are.
    fn finish(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<u64>;
    /// Forgets them.
    fn abort(&self, call: &CallContext<'_>) -> Reply<()>;
}

/// Whether `condition` holds for a key whose present version is `current`.
///
/// # Errors
///
/// `AlreadyExists` for a failed `Absent`, `PreconditionFailed` for a failed version.
pub fn check_condition(condition: keyway_abi::Condition, current: Option<Version>) -> crate::Result<()> {
    use keyway_abi::Condition;
    match (condition, current) {
        (Condition::Any, _) | (Condition::Absent, None) => Ok(()),
        (Condition::Absent, Some(_)) => Err(Error::new(ErrorCode::ALREADY_EXISTS, "the key exists")),
        (Condition::Version(expected), Some(actual)) if expected == actual => Ok(()),
        (Condition::Version(_), Some(_)) => {
            Err(Error::new(ErrorCode::PRECONDITION_FAILED, "the key has another version"))
        }
        (Condition::Version(_), None) => {
            Err(Error::new(ErrorCode::PRECONDITION_FAILED, "the key does not exist"))
        }
    }
}
