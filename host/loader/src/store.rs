//! An open backend in plain Rust, over the object that crosses the interface.
//!
//! `docs/storage-interface.md` specifies each operation. Any thread may call any method, many at a time. A
//! transaction serves one call at a time.

use std::sync::Arc;

use keyway_abi::{
    AbiBytes, BackupChunk, BackupObject, BackupPull, Batch, BatchResult, Begin, CallContext, Capabilities,
    Committed, Delete, DropKeyspace, Health, Key, Page, Put, Record, Records, Request, RestoreMode,
    RestoreObject, RestoreRecord, Scan, StoreObject, TransactionObject, Version, WriteId,
};

use crate::{
    Reply,
    polls::PollWatch,
    reply::Answered,
    trace::{self, Listener},
};

/// An open backend.
pub struct Store {
    pub(crate) object: StoreObject,
    polls: PollWatch,
}

impl Store {
    pub(crate) fn heard_by(self, listener: Arc<dyn Listener>) -> Self {
        Self { object: trace::heard(self.object, listener), polls: self.polls }
    }

    /// What it promises.
    #[inline]
    pub fn capabilities(&self) -> Capabilities {
        self.object.capabilities()
    }

    /// The record of a key; a miss is `None`.
    #[inline]
    pub fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        Reply::of(self.polls, |reply| self.object.get(call, &Request::new(key), reply))
    }

    /// The records of several keys, in their order.
    #[inline]
    pub fn get_many(&self, call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records> {
        Reply::of(self.polls, |reply| self.object.get_many(call, &Request::new(keys.into()), reply))
    }

    /// Writes a record if its condition holds; answers its new version.
    #[inline]
    pub fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        Reply::of(self.polls, |reply| self.object.put(call, &Request::new(put), reply))
    }

    /// Removes a record if its condition holds; answers whether it existed.
    #[inline]
    pub fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        Reply::of(self.polls, |reply| self.object.delete(call, &Request::new(delete), reply))
    }

    /// One page of keys in order.
    #[inline]
    pub fn scan(&self, call: &CallContext<'_>, scan: Scan<'_>) -> Reply<Page> {
        Reply::of(self.polls, |reply| self.object.scan(call, &Request::new(scan), reply))
    }

    /// Several operations on distinct keys.
    #[inline]
    pub fn apply(&self, call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        Reply::of(self.polls, |reply| self.object.apply(call, &Request::new(batch), reply))
    }

    /// Begins a transaction.
    #[inline]
    pub fn begin(&self, call: &CallContext<'_>, begin: Begin) -> Reply<Transaction> {
        Reply::of(self.polls, |reply| self.object.begin(call, &Request::new(begin), reply))
    }

    /// The names of the keyspaces after `after`, in order; at most 1,000.
    #[inline]
    pub fn keyspaces(&self, call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        Reply::of(self.polls, |reply| self.object.keyspaces(call, &Request::new(after.into()), reply))
    }

    /// Removes a keyspace with all its records; answers whether it existed.
    #[inline]
    pub fn drop_keyspace(&self, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        Reply::of(self.polls, |reply| self.object.drop_keyspace(call, &Request::new(drop), reply))
    }

    /// How the store is doing, from the store itself.
    #[inline]
    pub fn health(&self, call: &CallContext<'_>) -> Reply<Health> {
        Reply::of(self.polls, |reply| self.object.health(call, &Request::new(()), reply))
    }

    /// A stream of all records.
    #[inline]
    pub fn backup(&self, call: &CallContext<'_>) -> Reply<BackupStream> {
        Reply::of(self.polls, |reply| self.object.backup(call, &Request::new(()), reply))
    }

    /// A sink for records.
    #[inline]
    pub fn restore(&self, call: &CallContext<'_>, mode: RestoreMode) -> Reply<RestoreSink> {
        Reply::of(self.polls, |reply| self.object.restore(call, &Request::new(mode), reply))
    }

    /// Migrates the data format forward; answers the format that the store has now.
    #[inline]
    pub fn upgrade(&self, call: &CallContext<'_>) -> Reply<u32> {
        Reply::of(self.polls, |reply| self.object.upgrade(call, &Request::new(()), reply))
    }

    /// An operation of the backend's own.
    #[inline]
    pub fn extension(&self, call: &CallContext<'_>, name: &str, request: &[u8]) -> Reply<AbiBytes> {
        Reply::of(self.polls, |reply| {
            self.object.extension(call, name.into(), &Request::new(request.into()), reply)
        })
    }

    /// Finishes what is in flight and closes. Idempotent.
    #[inline]
    pub fn shutdown(&self, call: &CallContext<'_>) -> Reply<()> {
        Reply::of(self.polls, |reply| self.object.shutdown(call, &Request::new(()), reply))
    }
}

/// An open transaction. Dropped means rolled back.
pub struct Transaction {
    object: TransactionObject,
    polls: PollWatch,
}

impl Transaction {
    /// As [`Store::get`], own writes included.
    #[inline]
    pub fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        Reply::of(self.polls, |reply| self.object.get(call, &Request::new(key), reply))
    }

    /// As [`Store::put`]; the version comes from the commit.
    #[inline]
    pub fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<()> {
        Reply::of(self.polls, |reply| self.object.put(call, &Request::new(put), reply))
    }

    /// As [`Store::delete`].
    #[inline]
    pub fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        Reply::of(self.polls, |reply| self.object.delete(call, &Request::new(delete), reply))
    }

    /// As [`Store::scan`], own writes included.
    #[inline]
    pub fn scan(&self, call: &CallContext<'_>, scan: Scan<'_>) -> Reply<Page> {
        Reply::of(self.polls, |reply| self.object.scan(call, &Request::new(scan), reply))
    }

    /// Makes all writes visible at once, or none.
    #[inline]
    pub fn commit(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<Committed> {
        Reply::of(self.polls, |reply| self.object.commit(call, &Request::new(write_id), reply))
    }

    /// Forgets all writes.
    #[inline]
    pub fn rollback(&self, call: &CallContext<'_>) -> Reply<()> {
        Reply::of(self.polls, |reply| self.object.rollback(call, &Request::new(()), reply))
    }
}

/// A backup in progress. Dropped means ended.
pub struct BackupStream {
    object: BackupObject,
    polls: PollWatch,
}

impl BackupStream {
    /// The next records, ordered by keyspace and key.
    #[inline]
    pub fn next(&self, call: &CallContext<'_>, pull: BackupPull) -> Reply<BackupChunk> {
        Reply::of(self.polls, |reply| self.object.next(call, &Request::new(pull), reply))
    }
}

/// A restore in progress. Dropped means aborted.
pub struct RestoreSink {
    object: RestoreObject,
    polls: PollWatch,
}

impl RestoreSink {
    /// Takes records.
    #[inline]
    pub fn write(&self, call: &CallContext<'_>, records: &[RestoreRecord<'_>]) -> Reply<()> {
        Reply::of(self.polls, |reply| self.object.write(call, &Request::new(records.into()), reply))
    }

    /// Makes them visible, all at once; answers how many there are.
    #[inline]
    pub fn finish(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<u64> {
        Reply::of(self.polls, |reply| self.object.finish(call, &Request::new(write_id), reply))
    }

    /// Forgets them.
    #[inline]
    pub fn abort(&self, call: &CallContext<'_>) -> Reply<()> {
        Reply::of(self.polls, |reply| self.object.abort(call, &Request::new(()), reply))
    }
}

impl Answered for Store {
    type Foreign = StoreObject;

    fn from_foreign(object: StoreObject, polls: PollWatch) -> Self {
        Self { object, polls }
    }
}

macro_rules! objects_of_a_store {
    ($($object:ident: $foreign:ty),*) => {
        $(impl Answered for $object {
            type Foreign = $foreign;

            fn from_foreign(object: $foreign, polls: PollWatch) -> Self {
                Self { object, polls: polls.of_object() }
            }
        })*
    };
}

objects_of_a_store!(Transaction: TransactionObject, BackupStream: BackupObject, RestoreSink: RestoreObject);
