//! The plain trait over the interface: a foreign object seen as a [`Store`].

pub(crate) mod services;

use abi_stable::std_types::{ROption, RResult};
use keyway_abi::{
    AbiBytes, Answer, BackupChunk, BackupObject, BackupPull, Batch, BatchResult, Begin, CallContext,
    Capabilities, Committed, Delete, DropKeyspace, Error, ErrorCode, ForeignReply, Health, Key, MaybeReady,
    Page, Put, Record, Records, Request, RestoreMode, RestoreObject, RestoreRecord, Scan, StoreObject,
    TransactionObject, Version, WriteId,
};

use crate::{
    Reply,
    store::{BackupStream, RestoreSink, Store, Transaction},
};

/// A foreign store.
pub(crate) struct ForeignStore(pub(crate) StoreObject);

struct ForeignTransaction(TransactionObject);
struct ForeignBackup(BackupObject);
struct ForeignRestore(RestoreObject);

/// The reply of a foreign call, with what it answers turned into plain Rust by `convert`.
#[inline]
pub(crate) fn reply<T: 'static, U: 'static>(foreign: ForeignReply<T>, convert: fn(T) -> U) -> Reply<U> {
    match foreign {
        MaybeReady::Ready(result) => Reply::ready(plain(result, convert)),
        MaybeReady::Pending(future) => Reply::pending(async move { plain(future.await, convert) }),
    }
}

#[inline]
fn plain<T, U>(result: RResult<Answer<T>, Error>, convert: fn(T) -> U) -> Result<U, Error> {
    match result {
        RResult::ROk(answer) if answer.unknown_flags() != 0 => {
            let message = format!("the answer's flags {:#x} are not understood", answer.unknown_flags());
            Err(Error::new(ErrorCode::UNSUPPORTED, message).with_unknown_outcome())
        }
        RResult::ROk(answer) => Ok(convert(answer.into_body())),
        RResult::RErr(error) => Err(error),
    }
}

impl Store for ForeignStore {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        reply(self.0.get(call, Request::new(key)), ROption::into_option)
    }

    fn get_many(&self, call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records> {
        reply(self.0.get_many(call, Request::new(keys.into())), |records| records)
    }

    fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        reply(self.0.put(call, Request::new(put)), |version| version)
    }

    fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        reply(self.0.delete(call, Request::new(delete)), |existed| existed)
    }

    fn scan(&self, call: &CallContext<'_>, scan: Scan<'_>) -> Reply<Page> {
        reply(self.0.scan(call, Request::new(scan)), |page| page)
    }

    fn apply(&self, call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        reply(self.0.apply(call, Request::new(batch)), |results| results)
    }

    fn begin(&self, call: &CallContext<'_>, begin: Begin) -> Reply<Box<dyn Transaction>> {
        reply(self.0.begin(call, Request::new(begin)), |transaction| {
            Box::new(ForeignTransaction(transaction))
        })
    }

    fn keyspaces(&self, call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        reply(self.0.keyspaces(call, Request::new(after.into())), |names| {
            names.into_iter().map(String::from).collect()
        })
    }

    fn drop_keyspace(&self, call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        reply(self.0.drop_keyspace(call, Request::new(drop)), |existed| existed)
    }

    fn health(&self, call: &CallContext<'_>) -> Reply<Health> {
        reply(self.0.health(call, Request::new(())), |health| health)
    }

    fn backup(&self, call: &CallContext<'_>) -> Reply<Box<dyn BackupStream>> {
        reply(self.0.backup(call, Request::new(())), |stream| Box::new(ForeignBackup(stream)))
    }

    fn restore(&self, call: &CallContext<'_>, mode: RestoreMode) -> Reply<Box<dyn RestoreSink>> {
        reply(self.0.restore(call, Request::new(mode)), |sink| Box::new(ForeignRestore(sink)))
    }

    fn upgrade(&self, call: &CallContext<'_>) -> Reply<u32> {
        reply(self.0.upgrade(call, Request::new(())), |format| format)
    }

    fn extension(&self, call: &CallContext<'_>, name: &str, request: &[u8]) -> Reply<AbiBytes> {
        reply(self.0.extension(call, name.into(), Request::new(request.into())), |bytes| bytes)
    }

    fn shutdown(&self, call: &CallContext<'_>) -> Reply<()> {
        reply(self.0.shutdown(call, Request::new(())), |()| ())
    }
}

impl Transaction for ForeignTransaction {
    fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        reply(self.0.get(call, Request::new(key)), ROption::into_option)
    }

    fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<()> {
        reply(self.0.put(call, Request::new(put)), |()| ())
    }

    fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        reply(self.0.delete(call, Request::new(delete)), |existed| existed)
    }

    fn scan(&self, call: &CallContext<'_>, scan: Scan<'_>) -> Reply<Page> {
        reply(self.0.scan(call, Request::new(scan)), |page| page)
    }

    fn commit(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<Committed> {
        reply(self.0.commit(call, Request::new(write_id)), |committed| committed)
    }

    fn rollback(&self, call: &CallContext<'_>) -> Reply<()> {
        reply(self.0.rollback(call, Request::new(())), |()| ())
    }
}

impl BackupStream for ForeignBackup {
    fn next(&self, call: &CallContext<'_>, pull: BackupPull) -> Reply<BackupChunk> {
        reply(self.0.next(call, Request::new(pull)), |chunk| chunk)
    }
}

impl RestoreSink for ForeignRestore {
    fn write(&self, call: &CallContext<'_>, records: &[RestoreRecord<'_>]) -> Reply<()> {
        reply(self.0.write(call, Request::new(records.into())), |()| ())
    }

    fn finish(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<u64> {
        reply(self.0.finish(call, Request::new(write_id)), |count| count)
    }

    fn abort(&self, call: &CallContext<'_>) -> Reply<()> {
        reply(self.0.abort(call, Request::new(())), |()| ())
    }
}
