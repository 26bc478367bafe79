//! Writes: what waits for its turn, and a transaction under way, which numbers the versions.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use keyway_sdk::{
    BatchMode, BatchResult, Condition, Delete, Op, OpKind, OpResult, Put, Result, Version,
    backend::check_condition,
};
use rusqlite::Connection;

use crate::{
    error,
    failure::Failure,
    lineage::Lineage,
    sql::{self, At, Format},
};

/// A write transaction under way: numbers the versions.
pub(crate) struct Writing<'a> {
    connection: &'a Connection,
    versions: &'a Versions,
    at: At,
    doing: &'static str,
    broken: bool,
}

/// The numbers of versions. This process gives out no number twice, even if the transaction that used it was
/// rolled back. A later process does not either, because all numbers stay within a bound in the file. The
/// transaction of the first record that needs it raises the bound, by [`RESERVED`] numbers at a time. So most
/// commits write a page less.
#[derive(Debug)]
pub(crate) struct Versions {
    incarnation: u64,
    format: AtomicU32,
    last: AtomicU64,
    /// The file's bound.
    reserved: AtomicU64,
    lineage: Lineage,
}

/// Numbers that are reserved at a time.
const RESERVED: u64 = 1_000;
/// Most writes of a transaction: what the interface's default limit is.
pub(crate) const TRANSACTION_OPS: u64 = 10_000;

impl Versions {
    pub(crate) fn new(incarnation: u64, format: Format, last: u64) -> Self {
        Self {
            incarnation,
            format: AtomicU32::new(format.number()),
            last: AtomicU64::new(last),
            reserved: AtomicU64::new(last),
            lineage: Lineage::default(),
        }
    }

    /// The marks of the store; each commit goes through them.
    pub(crate) fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// How the store is read.
    pub(crate) fn at(&self) -> At {
        // Only numbers of formats are ever stored.
        let format = Format::of(self.format.load(Ordering::Acquire)).unwrap_or(Format::Two);
        At::present(self.incarnation, format)
    }

    /// The store has been migrated.
    pub(crate) fn migrated(&self, format: Format, last: u64) {
        self.last.fetch_max(last, Ordering::AcqRel);
        self.reserved.store(last, Ordering::Release);
        self.format.store(format.number(), Ordering::Release);
    }

    /// Reserves, in a separate transaction, the numbers that a transaction may give out and show before it
    /// commits.
    pub(crate) fn reserve(&self, connection: &Connection) -> std::result::Result<(), Failure> {
        if self.last() + TRANSACTION_OPS <= self.reserved.load(Ordering::Acquire) {
            return Ok(());
        }
        let bound = self.last() + 2 * TRANSACTION_OPS;
        let raised = sql::begin_write(connection)
            .and_then(|()| sql::set_last_version(connection, bound))
            .map_err(Failure::Begin)
            .and_then(|()| self.lineage.commit(connection));
        match raised {
            Ok(()) => self.reserved.store(bound, Ordering::Release),
            // The transaction of the calls has not begun, so they are not applied.
            Err(Failure::Commit(source)) => return Err(Failure::Begin(source)),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// The last number that was given out.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }
}

impl<'a> Writing<'a> {
    pub(crate) fn begin(connection: &'a Connection, versions: &'a Versions, doing: &'static str) -> Self {
        let at = versions.at().frozen_now();
        Self { connection, versions, at, doing, broken: false }
    }

    /// Begins the next call of a group: notes its name, and reads the clock again.
    pub(crate) fn next_call(&mut self, doing: &'static str) {
        self.doing = doing;
        self.at = self.versions.at().frozen_now();
    }

    /// How the store is read in this transaction.
    pub(crate) fn at(&self) -> At {
        self.at
    }

    /// Whether SQLite has failed. What was done so far must be rolled back then, if SQLite has not done that
    /// itself.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken || self.connection.is_autocommit()
    }

    /// Commits, with the numbers that were given out reserved in the same transaction.
    pub(crate) fn commit(&self) -> std::result::Result<(), Failure> {
        let (last, reserved) = (self.versions.last(), self.versions.reserved.load(Ordering::Acquire));
        let bound = if last > reserved { last + RESERVED } else { reserved };
        if bound > reserved {
            sql::set_last_version(self.connection, bound).map_err(Failure::Begin)?;
        }
        self.versions.lineage.commit(self.connection)?;
        self.versions.reserved.store(bound, Ordering::Release);
        Ok(())
    }

    pub(crate) fn current(&mut self, keyspace: &str, key: &[u8]) -> Result<Option<Version>> {
        self.sqlite(sql::current_version(self.connection, self.at, keyspace, key))
    }

    /// The version that the operation's condition is about, if it has one.
    pub(crate) fn current_if_needed(&mut self, op: &OwnedOp) -> Result<Option<Version>> {
        if op.condition == Condition::Any { Ok(None) } else { self.current(&op.keyspace, &op.key) }
    }

    pub(crate) fn put(&mut self, op: &OwnedOp) -> Result<Version> {
        let version = self.next_number();
        self.sqlite(sql::put(self.connection, self.at.format(), &op.record(version)))?;
        Ok(Version::numbered(self.versions.incarnation, version))
    }

    pub(crate) fn delete(&mut self, keyspace: &str, key: &[u8]) -> Result<()> {
        self.sqlite(sql::delete(self.connection, self.at.format(), keyspace, key))
    }

    pub(crate) fn drop_keyspace(&mut self, name: &str) -> Result<bool> {
        self.sqlite(sql::drop_keyspace(self.connection, self.at.format(), name))
    }

    /// Writes a mark that is greater than all before it.
    pub(crate) fn probe(&mut self) -> Result<u64> {
        let mark = self.next_number();
        self.sqlite(sql::set_probe(self.connection, mark))?;
        Ok(mark)
    }

    /// Writes a record of a restore, in the keyspace of that number.
    pub(crate) fn stage(&mut self, id: u64, op: &OwnedOp) -> Result<()> {
        let version = self.next_number();
        self.sqlite(sql::stage(self.connection, id, &op.record(version)))
    }

    pub(crate) fn is_store_empty(&mut self) -> Result<bool> {
        self.sqlite(sql::is_empty(self.connection, self.at))
    }

    pub(crate) fn publish(&mut self, staged: &[sql::Staged]) -> Result<()> {
        self.sqlite(sql::publish(self.connection, staged))
    }

    fn apply(&mut self, op: &OwnedOp, existed: bool) -> Result<OpResult> {
        match op.kind {
            OpKind::Put => self.put(op).map(|version| OpResult::written(version, existed)),
            OpKind::Delete => {
                self.delete(&op.keyspace, &op.key)?;
                Ok(OpResult::unversioned(existed))
            }
            OpKind::Check => Ok(OpResult::unversioned(existed)),
        }
    }

    /// A number that was never given out.
    pub(crate) fn next_number(&self) -> u64 {
        self.versions.last.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn sqlite<T>(&mut self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|source| {
            self.broken = true;
            error::failed(self.doing, &source)
        })
    }
}

/// An operation that waits for its turn.
pub(crate) struct OwnedOp {
    pub(crate) kind: OpKind,
    pub(crate) keyspace: String,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) condition: Condition,
    pub(crate) expires_at_ms: Option<u64>,
}

impl OwnedOp {
    pub(crate) fn put(put: &Put<'_>) -> Self {
        Self {
            kind: OpKind::Put,
            keyspace: put.key().keyspace().to_owned(),
            key: put.key().bytes().to_vec(),
            value: put.value().to_vec(),
            condition: put.condition(),
            expires_at_ms: put.expires_at_ms(),
        }
    }

    pub(crate) fn delete(delete: &Delete<'_>) -> Self {
        Self {
            kind: OpKind::Delete,
            keyspace: delete.key().keyspace().to_owned(),
            key: delete.key().bytes().to_vec(),
            value: Vec::new(),
            condition: delete.condition(),
            expires_at_ms: None,
        }
    }

    pub(crate) fn of(op: &Op<'_>) -> Self {
        Self {
            kind: op.kind(),
            keyspace: op.key().keyspace().to_owned(),
            key: op.key().bytes().to_vec(),
            value: op.value().to_vec(),
            condition: op.condition(),
            expires_at_ms: op.expires_at_ms(),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.keyspace.len() + self.key.len() + self.value.len()) as u64
    }

    fn record(&self, version: u64) -> sql::NewRecord<'_> {
        let Self { keyspace, key, value, expires_at_ms, .. } = self;
        sql::NewRecord { keyspace, key, value, version, expires_at_ms: *expires_at_ms }
    }
}

/// All operations of a batch, in the transaction under way.
pub(crate) fn apply_batch(
    writing: &mut Writing<'_>,
    ops: &[OwnedOp],
    mode: BatchMode,
) -> Result<BatchResult> {
    // Keys are distinct, but a condition must not see a write of the same batch: all are checked first.
    let mut checks = Vec::with_capacity(ops.len());
    for (index, op) in ops.iter().enumerate() {
        let current = writing.current(&op.keyspace, &op.key)?;
        let checked = check_condition(op.condition, current).map(|()| current.is_some());
        match checked {
            Err(error) if mode == BatchMode::Atomic => return Err(error.with_index(index)),
            checked => checks.push(checked),
        }
    }
    let mut results = Vec::with_capacity(ops.len());
    for (op, checked) in ops.iter().zip(checks) {
        results.push(match checked {
            // A failure of SQLite itself takes the whole batch with it.
            Ok(existed) => Ok(writing.apply(op, existed)?),
            Err(error) => Err(error),
        });
    }
    Ok(results.into_iter().collect())
}
