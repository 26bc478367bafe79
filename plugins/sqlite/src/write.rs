//! Writes: what waits for its turn, and a transaction under way, which numbers the versions.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use keyway_sdk::{
    BatchMode, BatchResult, Condition, Delete, Op, OpKind, OpResult, Put, Result, Version,
    backend::check_condition,
};
use rusqlite::Connection;

use crate::{
    error,
    sql::{self, At},
};

/// A write transaction under way: numbers the versions.
pub(crate) struct Writing<'a> {
    connection: &'a Connection,
    versions: Arc<Versions>,
    at: At,
    /// The last version that the file knows.
    stored: u64,
    doing: &'static str,
}

/// The numbers of versions. None is given out twice by this process, not even where a transaction that showed it to
/// somebody was rolled back; the file has the last one that was committed.
#[derive(Debug)]
pub(crate) struct Versions {
    at: At,
    incarnation: u64,
    last: AtomicU64,
}

impl Versions {
    pub(crate) fn new(incarnation: u64, last: u64) -> Self {
        Self { at: At::present(incarnation), incarnation, last: AtomicU64::new(last) }
    }

    /// How the store is read.
    pub(crate) fn at(&self) -> At {
        self.at
    }
}

impl<'a> Writing<'a> {
    pub(crate) fn begin(
        connection: &'a Connection,
        versions: Arc<Versions>,
        doing: &'static str,
    ) -> Result<Self> {
        let stored = sql::last_version(connection).map_err(|source| error::failed(doing, &source))?;
        versions.last.fetch_max(stored, Ordering::AcqRel);
        let at = versions.at.frozen_now();
        Ok(Self { connection, versions, at, stored, doing })
    }

    /// How the store is read in this transaction.
    pub(crate) fn at(&self) -> At {
        self.at
    }

    /// Stores the last version given out. Before the commit, in the same transaction.
    pub(crate) fn finish(&self) -> Result<()> {
        let last = self.versions.last.load(Ordering::Acquire);
        if last == self.stored {
            return Ok(());
        }
        self.sqlite(sql::set_last_version(self.connection, last))
    }

    pub(crate) fn current(&self, keyspace: &str, key: &[u8]) -> Result<Option<Version>> {
        self.sqlite(sql::current_version(self.connection, self.at, keyspace, key))
    }

    pub(crate) fn put(
        &mut self,
        keyspace: &str,
        key: &[u8],
        value: &[u8],
        expires_at_ms: Option<u64>,
    ) -> Result<Version> {
        let version = self.versions.last.fetch_add(1, Ordering::AcqRel) + 1;
        let record = sql::NewRecord { keyspace, key, value, version, expires_at_ms };
        self.sqlite(sql::put(self.connection, &record))?;
        Ok(Version::numbered(self.versions.incarnation, version))
    }

    pub(crate) fn delete(&self, keyspace: &str, key: &[u8]) -> Result<()> {
        self.sqlite(sql::delete(self.connection, keyspace, key))
    }

    pub(crate) fn drop_keyspace(&self, name: &str) -> Result<bool> {
        self.sqlite(sql::drop_keyspace(self.connection, name))
    }

    fn apply(&mut self, op: &OwnedOp, existed: bool) -> Result<OpResult> {
        match op.kind {
            OpKind::Put => {
                let version = self.put(&op.keyspace, &op.key, &op.value, op.expires_at_ms)?;
                Ok(OpResult::written(version, existed))
            }
            OpKind::Delete => {
                self.delete(&op.keyspace, &op.key)?;
                Ok(OpResult::unversioned(existed))
            }
            OpKind::Check => Ok(OpResult::unversioned(existed)),
        }
    }

    fn sqlite<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|source| error::failed(self.doing, &source))
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
