//! The plain trait through which a server sees an open backend, whatever stands behind it.
//!
//! What each operation means is the interface's specification, `docs/storage-interface.md`. All methods may be called
//! from any thread, many at a time (a transaction apart, which serves one call at a time).

use keyway_abi::{
    AbiBytes, BackupChunk, BackupPull, Batch, BatchResult, Begin, CallContext, Capabilities, Committed,
    Delete, DropKeyspace, Health, Key, Page, Put, Record, Records, RestoreMode, RestoreRecord, Scan, Version,
    WriteId,
};

use crate::Reply;

/// An open backend.
pub trait Store: Send + Sync {
    /// What it promises.
    fn capabilities(&self) -> Capabilities;
    /// The record of a key; a miss is `None`.
    fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>>;
    /// The records of several keys, in their order.
    fn get_many(&self, call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records>;
    /// Writes a record if its condition holds; answers its new version.
    fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version>;
    /// Removes a record if its condition holds; answers whether it existed.
    fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool>;
    /// One page of keys in order.
    fn scan(&self, call: &CallContext<'_>, scan: Scan<'_>) -> Reply<Page>;
    /// Several operations on distinct keys.
    fn apply(&self, call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult>;
    /// Begins a transaction.
    fn begin(&self, call: &CallContext<'_>, begin: Begin) -> Reply<Box<dyn Transaction>>;
    /// The names of the keyspaces behind `after`, in order; at most 1,000.
    fn keyspaces(&self, call: &CallContext<'_>, after: &str) -> Reply<Vec<String>>;
    /// Removes a keyspace with all its records; answers whether it existed.
    fn drop_keyspace(&self, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool>;
    /// How the store is doing, from the store itself.
    fn health(&self, call: &CallContext<'_>) -> Reply<Health>;
    /// A stream of all records.
    fn backup(&self, call: &CallContext<'_>) -> Reply<Box<dyn BackupStream>>;
    /// A sink for records.
    fn restore(&self, call: &CallContext<'_>, mode: RestoreMode) -> Reply<Box<dyn RestoreSink>>;
    /// Migrates the data format forward; answers the format that the store has now.
    fn upgrade(&self, call: &CallContext<'_>) -> Reply<u32>;
    /// An operation of the backend's own.
    fn extension(&self, call: &CallContext<'_>, name: &str, request: &[u8]) -> Reply<AbiBytes>;
    /// Finishes what is in flight and closes. Idempotent.
    fn shutdown(&self, call: &CallContext<'_>) -> Reply<()>;
}

/// An open transaction. Dropped means rolled back.
pub trait Transaction: Send + Sync {
    /// As [`Store::get`], own writes included.
    fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>>;
    /// As [`Store::put`]; the version comes from the commit.
    fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<()>;
    /// As [`Store::delete`].
    fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool>;
    /// As [`Store::scan`], own writes included.
    fn scan(&self, call: &CallContext<'_>, scan: Scan<'_>) -> Reply<Page>;
    /// Makes all writes visible at once, or none.
    fn commit(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<Committed>;
    /// Forgets all writes.
    fn rollback(&self, call: &CallContext<'_>) -> Reply<()>;
}

/// A backup in progress. Dropped means ended.
pub trait BackupStream: Send + Sync {
    /// The next records, ordered by keyspace and key.
    fn next(&self, call: &CallContext<'_>, pull: BackupPull) -> Reply<BackupChunk>;
}

/// A restore in progress. Dropped means aborted.
pub trait RestoreSink: Send + Sync {
    /// Takes records.
    fn write(&self, call: &CallContext<'_>, records: &[RestoreRecord<'_>]) -> Reply<()>;
    /// Makes them visible, all at once; answers how many there are.
    fn finish(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<u64>;
    /// Forgets them.
    fn abort(&self, call: &CallContext<'_>) -> Reply<()>;
}
