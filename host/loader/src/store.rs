//! An open backend in plain Rust, over the object that crosses the interface.
//!
//! `docs/storage-interface.md` specifies each operation. Any thread may call any method, many at a time. A
//! transaction serves one call at a time.

use abi_stable::std_types::ROption;
use keyway_abi::{
    AbiBytes, BackupChunk, BackupObject, BackupPull, Batch, BatchResult, Begin, CallContext, Capabilities,
    Committed, Delete, DropKeyspace, Health, Key, Page, Put, Record, Records, Request, RestoreMode,
    RestoreObject, RestoreRecord, Scan, StoreObject, TransactionObject, Version, WriteId,
};

use crate::Reply;

/// An open backend.
pub struct Store(pub(crate) StoreObject);

impl Store {
    /// What it promises.
    pub fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    /// The record of a key; a miss is `None`.
    pub fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        Reply::of(self.0.get(call, Request::new(key)), ROption::into_option)
    }

    /// The records of several keys, in their order.
    pub fn get_many(&self, call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records> {
        Reply::of(self.0.get_many(call, Request::new(keys.into())), |records| records)
    }

    /// Writes a record if its condition holds; answers its new version.
    pub fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        Reply::of(self.0.put(call, Request::new(put)), |version| version)
    }

    /// Removes a record if its condition holds; answers whether it existed.
    pub fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        Reply::of(self.0.delete(call, Request::new(delete)), |existed| existed)
    }

    /// One page of keys in order.
    pub fn scan(&self, call: &CallContext<'_>, scan: Scan<'_>) -> Reply<Page> {
        Reply::of(self.0.scan(call, Request::new(scan)), |page| page)
    }

    /// Several operations on distinct keys.
    pub fn apply(&self, call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        Reply::of(self.0.apply(call, Request::new(batch)), |results| results)
    }

    /// Begins a transaction.
    pub fn begin(&self, call: &CallContext<'_>, begin: Begin) -> Reply<Transaction> {
        Reply::of(self.0.begin(call, Request::new(begin)), Transaction)
    }

    /// The names of the keyspaces after `after`, in order; at most 1,000.
    pub fn keyspaces(&self, call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        Reply::of(self.0.keyspaces(call, Request::new(after.into())), |names| {
            names.into_iter().map(String::from).collect()
        })
    }

    /// Removes a keyspace with all its records; answers whether it existed.
    pub fn drop_keyspace(&self, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        Reply::of(self.0.drop_keyspace(call, Request::new(drop)), |existed| existed)
    }

    /// How the store is doing, from the store itself.
    pub fn health(&self, call: &CallContext<'_>) -> Reply<Health> {
        Reply::of(self.0.health(call, Request::new(())), |health| health)
    }

    /// A stream of all records.
    pub fn backup(&self, call: &CallContext<'_>) -> Reply<BackupStream> {
        Reply::of(self.0.backup(call, Request::new(())), BackupStream)
    }

    /// A sink for records.
    pub fn restore(&self, call: &CallContext<'_>, mode: RestoreMode) -> Reply<RestoreSink> {
        Reply::of(self.0.restore(call, Request::new(mode)), RestoreSink)
    }

    /// Migrates the data format forward; answers the format that the store has now.
    pub fn upgrade(&self, call: &CallContext<'_>) -> Reply<u32> {
        Reply::of(self.0.upgrade(call, Request::new(())), |format| format)
    }

    /// An operation of the backend's own.
    pub fn extension(&self, call: &CallContext<'_>, name: &str, request: &[u8]) -> Reply<AbiBytes> {
        Reply::of(self.0.extension(call, name.into(), Request::new(request.into())), |bytes| bytes)
    }

    /// Finishes what is in flight and closes. Idempotent.
    pub fn shutdown(&self, call: &CallContext<'_>) -> Reply<()> {
        Reply::of(self.0.shutdown(call, Request::new(())), |()| ())
    }
}

/// An open transaction. Dropped means rolled back.
pub struct Transaction(TransactionObject);

impl Transaction {
    /// As [`Store::get`], own writes included.
    pub fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        Reply::of(self.0.get(call, Request::new(key)), ROption::into_option)
    }

    /// As [`Store::put`]; the version comes from the commit.
    pub fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<()> {
        Reply::of(self.0.put(call, Request::new(put)), |()| ())
    }

    /// As [`Store::delete`].
    pub fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        Reply::of(self.0.delete(call, Request::new(delete)), |existed| existed)
    }

    /// As [`Store::scan`], own writes included.
    pub fn scan(&self, call: &CallContext<'_>, scan: Scan<'_>) -> Reply<Page> {
        Reply::of(self.0.scan(call, Request::new(scan)), |page| page)
    }

    /// Makes all writes visible at once, or none.
    pub fn commit(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<Committed> {
        Reply::of(self.0.commit(call, Request::new(write_id)), |committed| committed)
    }

    /// Forgets all writes.
    pub fn rollback(&self, call: &CallContext<'_>) -> Reply<()> {
        Reply::of(self.0.rollback(call, Request::new(())), |()| ())
    }
}

/// A backup in progress. Dropped means ended.
pub struct BackupStream(BackupObject);

impl BackupStream {
    /// The next records, ordered by keyspace and key.
    pub fn next(&self, call: &CallContext<'_>, pull: BackupPull) -> Reply<BackupChunk> {
        Reply::of(self.0.next(call, Request::new(pull)), |chunk| chunk)
    }
}

/// A restore in progress. Dropped means aborted.
pub struct RestoreSink(RestoreObject);

impl RestoreSink {
    /// Takes records.
    pub fn write(&self, call: &CallContext<'_>, records: &[RestoreRecord<'_>]) -> Reply<()> {
        Reply::of(self.0.write(call, Request::new(records.into())), |()| ())
    }

    /// Makes them visible, all at once; answers how many there are.
    pub fn finish(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<u64> {
        Reply::of(self.0.finish(call, Request::new(write_id)), |count| count)
    }

    /// Forgets them.
    pub fn abort(&self, call: &CallContext<'_>) -> Reply<()> {
        Reply::of(self.0.abort(call, Request::new(())), |()| ())
    }
}
