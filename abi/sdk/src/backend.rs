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
/// # Rules of every method
///
/// - **It must not block.** Neither the call nor a poll of its future waits for a lock, a disk, a network or a timer:
///   the thread is the host's, and serves other requests. A store that blocks implements
///   [`BlockingBackend`](crate::BlockingBackend) instead, or does single pieces of work with
///   [`OpenContext::blocking`]. Checked by `call_that_waits_blocks_no_thread`.
/// - **Threads:** any thread may call any method, many at a time. Checked by
///   `boundary_calls_from_64_threads_are_answered`.
/// - **Borrowing:** arguments live as long as the call, not as long as the future. A pending answer copies what it
///   needs ([`owned`](crate::owned)). Methods take `&Arc<Self>`, so that a future can own the backend.
/// - **Limits:** before a method runs, the SDK has checked keyspace names, declared [`Limits`](crate::Limits), flags,
///   distinct keys in a batch and cursors. It never calls an operation that is not declared.
/// - **Cancelling:** when a future is dropped, what the call holds is free within a second. Its effect has happened
///   whole or not at all. Checked by `cancelled_calls_hold_nothing`.
/// - **Errors:** an error of a write says that nothing has changed, unless it is made
///   [`with_unknown_outcome`](crate::Error::with_unknown_outcome). For operations that only read, the SDK says it. Checked
///   by `boundary_any_argument_is_an_answer` and the cases about conditions.
/// - **Panics** become `Panicked` errors of their call.
///
/// The names are those of the conformance suite's cases: `keyway plugin conform FILE --only NAME` runs one.
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
    /// and drop of its futures. Zero makes none. Another number needs the feature `tokio`, and does not compile without.
    const RUNTIME_THREADS: usize = 0;

    /// Opens a store. Creates it if there is none; never migrates one.
    ///
    /// A second opener of a store that has one (`Sharing::ONE_OPENER`) is `Unavailable`; a format that is newer than
    /// [`PluginInfo::data_format`] is `Unsupported`. Checked by `store_of_one_opener_refuses_a_second`,
    /// `durable_writes_survive_closing_and_opening` and `versions_never_repeat_across_openings`.
    fn open(config: Self::Config, context: OpenContext) -> Reply<Self>;

    /// What this open store promises: all that the plugin does, unless you say less, as for a store of an older
    /// format. Asked once.
    ///
    /// `data_format` here is that of the store; in [`PluginInfo`] it is the one that the plugin writes. They differ only
    /// for a store that waits for [`upgrade`](Self::upgrade).
    fn capabilities(&self) -> Capabilities {
        Capabilities { data_format: Self::PLUGIN.data_format, ..Self::PLUGIN.capabilities }
    }

    /// The record of a key; a miss is `None`, and so is a record that has expired.
    ///
    /// Checked by `get_missing_key_is_none`, `put_then_get_returns_value_and_version`,
    /// `get_after_acknowledged_write_sees_it` if reads are linearizable, and `get_declared_inline_is_ready_at_once` if
    /// `INLINE_GET` is declared.
    fn get(self: &Arc<Self>, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>>;

    /// The records of several keys, one place for each, in their order. Keys may repeat. The default asks for one
    /// after the other.
    ///
    /// Checked by `get_many_answers_in_order`.
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

    /// Writes a whole record, its expiry too, if its condition holds, and answers its new version. Use
    /// [`check_condition`] and [`versions`](crate::versions).
    ///
    /// A version is never given twice to one key, also after a delete. A write id need not be looked up: the host gives
    /// no two writes the same. Keep it with the record if your store can lose an answer, to recognise your own write.
    /// Checked by `put_absent_by_many_has_one_winner`, `put_version_by_many_loses_no_increment`,
    /// `versions_of_a_key_never_repeat` and, for durable stores, `durable_writes_survive_kill`.
    fn put(self: &Arc<Self>, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version>;

    /// Removes a record if its condition holds, and answers whether it existed. The keyspace stays, even if this was
    /// its last key.
    ///
    /// Checked by `delete_is_idempotent_and_truthful` and `delete_with_stale_version_changes_nothing`.
    fn delete(self: &Arc<Self>, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool>;

    /// One page of keys in order. [`scan_with`](crate::paging::scan_with) makes it of an iterator. The pager applies
    /// prefix, delimiter, limits and `keys_only`, and sets the cursor, which the SDK authenticates.
    ///
    /// Checked by `scan_pages_equal_model`, `scan_with_delimiter_equals_model`, `scan_answers_each_key_once` and
    /// `scan_under_churn_meets_stable_keys_once`.
    fn scan(self: &Arc<Self>, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page>;

    /// Several operations on distinct keys; conditions see the state before the batch. The default does independent
    /// ones one after the other and refuses atomic ones: override it if the store has transactions.
    ///
    /// Collect a [`BatchResult`] from an iterator of one `Result<OpResult>` for each operation. An atomic batch fails
    /// with the error of one operation, which has its index (`error.with_index(n)`). Checked by
    /// `apply_atomic_is_all_or_nothing`, `apply_atomic_is_never_seen_half` and `apply_independent_answers_per_item`.
    fn apply(self: &Arc<Self>, call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        if batch.mode() == BatchMode::Atomic {
            return Reply::ready(Err(Error::unsupported("an atomic batch")));
        }
        let replies: Vec<_> =
            batch.ops().iter().map(|op| one_by_one(self, call, op, batch.write_id())).collect();
        Reply::pending(async move {
            let mut results = Vec::with_capacity(replies.len());
            for reply in replies {
                results.push(reply.wait().await);
            }
            Ok(results.into_iter().collect())
        })
    }

    /// Begins a transaction over a snapshot that is fixed now, with at least the isolation that is asked for.
    ///
    /// Checked by `transaction_reads_its_snapshot`, `transaction_has_no_write_skew` and the other cases for the declared
    /// isolation.
    fn begin(self: &Arc<Self>, _call: &CallContext<'_>, _begin: Begin) -> Reply<Box<dyn Transaction>> {
        Reply::ready(Err(Error::unsupported("a transaction")))
    }

    /// The names of the keyspaces after `after`, in order; at most 1,000. A keyspace exists from its first write until
    /// it is dropped, also without a key.
    ///
    /// Checked by `keyspace_is_listed_and_dropped_whole` and `keyspaces_are_listed_in_order_a_page_at_a_time`.
    fn keyspaces(self: &Arc<Self>, call: &CallContext<'_>, after: &str) -> Reply<Vec<String>>;

    /// Removes a keyspace and all its records, in one step; answers whether it existed.
    ///
    /// Checked by `keyspace_is_listed_and_dropped_whole`.
    fn drop_keyspace(self: &Arc<Self>, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool>;

    /// The truth, from the store itself: write something, and read it. A store that does not serve is an answer and not
    /// an error.
    ///
    /// Checked by `health_of_working_store_is_ready` and `health_says_when_the_store_is_gone_and_when_it_is_back`.
    fn health(self: &Arc<Self>, call: &CallContext<'_>) -> Reply<Health>;

    /// A stream of all records at one point in time, ordered by keyspace and key. Writes go on meanwhile.
    ///
    /// Checked by `backup_holds_every_record` and `backup_is_one_point_in_time`.
    fn backup(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Box<dyn BackupStream>> {
        Reply::ready(Err(Error::unsupported("backup")))
    }

    /// A sink for records; nothing is visible before it is finished. Dropped, it has changed nothing.
    ///
    /// Checked by `restore_replaces_everything_or_nothing` and `durable_restore_killed_midway_is_old_or_new`.
    fn restore(self: &Arc<Self>, _call: &CallContext<'_>, _mode: RestoreMode) -> Reply<Box<dyn RestoreSink>> {
        Reply::ready(Err(Error::unsupported("restore")))
    }

    /// Migrates the data format forward, in one transaction or not at all; answers the format that the store has
    /// now. The default has nothing to migrate.
    ///
    /// Checked by `upgrade_of_current_format_changes_nothing`.
    fn upgrade(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<u32> {
        Reply::ready(Ok(Self::PLUGIN.data_format))
    }

    /// An operation that only this backend has, by a name from [`PluginInfo::extensions`].
    ///
    /// Checked by `extension_that_is_unknown_is_not_found`.
    fn extension(self: &Arc<Self>, _call: &CallContext<'_>, name: &str, _request: &[u8]) -> Reply<AbiBytes> {
        Reply::ready(Err(Error::new(ErrorCode::NOT_FOUND, format!("there is no extension named {name}"))))
    }

    /// Finishes the calls in flight, releases every lock and closes the store. Idempotent; later calls answer `Closed`.
    ///
    /// Checked by `shutdown_with_calls_in_flight_answers_each_and_loses_none` and
    /// `boundary_a_thousand_openings_leave_nothing`.
    fn shutdown(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<()> {
        Reply::ready(Ok(()))
    }
}

/// One operation of an independent batch, by the other methods.
fn one_by_one<B: Backend>(
    backend: &Arc<B>,
    call: &CallContext<'_>,
    op: &Op<'_>,
    write_id: WriteId,
) -> Reply<OpResult> {
    match op.kind() {
        OpKind::Put => {
            backend.put(call, op.as_put(write_id)).map(|version| OpResult::written(version, false))
        }
        OpKind::Delete => backend.delete(call, op.as_delete(write_id)).map(OpResult::unversioned),
        OpKind::Check => {
            let condition = op.condition();
            let reply = backend.get(call, op.key());
            Reply::pending(async move {
                let record = reply.wait().await?;
                check_condition(condition, record.as_ref().map(Record::version))?;
                Ok(OpResult::unversioned(record.is_some()))
            })
        }
    }
}

/// A transaction. The SDK sees to it that there is one call at a time, and none after commit, rollback or a
/// cancelled call (rollback apart). Dropping it rolls back.
pub trait Transaction: Send + Sync {
    /// As [`Backend::get`], own writes included.
    fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>>;
    /// As [`Backend::put`], with a condition on what the transaction sees. The commit answers the version; a read of
    /// the own write may have that version already, or one that no other write ever gets.
    fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<()>;
    /// As [`Backend::delete`].
    fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool>;
    /// As [`Backend::scan`], own writes included.
    fn scan(&self, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page>;
    /// Makes all writes visible at once, or none; answers the version of each key that was put last, ordered by keyspace
    /// and key. A key that was put and then deleted is not among them. Collect a [`Committed`] from an iterator of
    /// [`CommittedKey`](crate::CommittedKey).
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
