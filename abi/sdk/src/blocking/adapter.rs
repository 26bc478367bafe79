//! A backend with blocking methods as one that answers with replies.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use keyway_abi::{
    AbiBytes, BackupChunk, BackupPull, Batch, BatchResult, Begin, CallContext, Capabilities, Committed,
    Delete, DropKeyspace, Error, ErrorCode, Health, Key, Page, Put, Record, Records, RestoreMode,
    RestoreRecord, Version, WriteId,
};

use super::{BlockingBackend, BlockingBackup, BlockingRestore, BlockingTransaction};
use crate::{
    Backend, BackupStream, OpenContext, PluginInfo, Reply, RestoreSink, Result, Transaction,
    owned::{BatchBuf, DeleteBuf, DropKeyspaceBuf, KeyBuf, PutBuf, RestoreRecordBuf},
    paging::ScanPlan,
};

/// Makes a [`BlockingBackend`] a [`Backend`]. Export this: `keyway_sdk::export_backend!(Blocking<Store>)`.
#[derive(Debug)]
pub struct Blocking<B: Send + Sync + 'static> {
    /// None after the shutdown, which drops it.
    backend: Arc<Slot<B>>,
    capabilities: Capabilities,
    context: OpenContext,
}

impl<B: BlockingBackend> Blocking<B> {
    fn run<T: Send + 'static>(&self, work: impl FnOnce(&B) -> Result<T> + Send + 'static) -> Reply<T> {
        let slot = Arc::clone(&self.backend);
        // A call that waits for a thread does not keep the store open.
        self.context.blocking(move || match store(&slot) {
            Some(backend) => work(&backend),
            None => Err(Error::new(ErrorCode::CLOSED, "the backend is closed")),
        })
    }
}

impl<B: Send + Sync + 'static> Drop for Blocking<B> {
    fn drop(&mut self) {
        // Without a shutdown, closing the store may block, and this thread may be the host's.
        if let Some(backend) = take(&self.backend) {
            drop(self.context.close_blocking(move || {
                drop(backend);
                Ok(())
            }));
        }
    }
}

/// Where the store is until it is closed. The lock is held for a moment only, never while the store works.
type Slot<B> = RwLock<Option<Arc<B>>>;

fn store<B>(slot: &Slot<B>) -> Option<Arc<B>> {
    slot.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn take<B>(slot: &Slot<B>) -> Option<Arc<B>> {
    slot.write().unwrap_or_else(PoisonError::into_inner).take()
}

impl<B: BlockingBackend> Backend for Blocking<B> {
    type Config = B::Config;

    const PLUGIN: PluginInfo = B::PLUGIN;

    fn open(config: Self::Config, context: OpenContext) -> Reply<Self> {
        context.set_blocking_threads(B::THREADS);
        let given = context.clone();
        let opened = context.blocking(move || {
            let backend = B::open(config, given)?;
            // Asked here, because it may look into the store.
            Ok((backend.capabilities(), backend))
        });
        opened.map(|(capabilities, backend)| {
            let backend = Arc::new(RwLock::new(Some(Arc::new(backend))));
            Self { backend, capabilities, context }
        })
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn get(self: &Arc<Self>, _call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        let key = KeyBuf::from(key);
        self.run(move |backend| backend.get(key.as_key()))
    }

    fn get_many(self: &Arc<Self>, _call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records> {
        let keys: Vec<KeyBuf> = keys.iter().map(|key| KeyBuf::from(*key)).collect();
        self.run(move |backend| {
            let keys: Vec<Key<'_>> = keys.iter().map(KeyBuf::as_key).collect();
            backend.get_many(&keys)
        })
    }

    fn put(self: &Arc<Self>, _call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        let put = PutBuf::from(put);
        self.run(move |backend| backend.put(put.as_put()))
    }

    fn delete(self: &Arc<Self>, _call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let delete = DeleteBuf::from(delete);
        self.run(move |backend| backend.delete(delete.as_delete()))
    }

    fn scan(self: &Arc<Self>, _call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        let plan = plan.into_owned();
        self.run(move |backend| backend.scan(plan))
    }

    fn apply(self: &Arc<Self>, _call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        let batch = BatchBuf::from(batch);
        self.run(move |backend| batch.with(|batch| backend.apply(batch)))
    }

    fn begin(self: &Arc<Self>, _call: &CallContext<'_>, begin: Begin) -> Reply<Box<dyn Transaction>> {
        let context = self.context.clone();
        self.run(move |backend| {
            let transaction = Serial::new(backend.begin(begin)?, context);
            Ok(Box::new(transaction) as Box<dyn Transaction>)
        })
    }

    fn keyspaces(self: &Arc<Self>, _call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        let after = after.to_owned();
        self.run(move |backend| backend.keyspaces(&after))
    }

    fn drop_keyspace(self: &Arc<Self>, _call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        let drop = DropKeyspaceBuf::from(drop);
        self.run(move |backend| backend.drop_keyspace(drop.as_drop()))
    }

    fn health(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Health> {
        self.run(B::health)
    }

    fn backup(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Box<dyn BackupStream>> {
        let context = self.context.clone();
        self.run(
            move |backend| Ok(Box::new(Serial::new(backend.backup()?, context)) as Box<dyn BackupStream>),
        )
    }

    fn restore(self: &Arc<Self>, _call: &CallContext<'_>, mode: RestoreMode) -> Reply<Box<dyn RestoreSink>> {
        let context = self.context.clone();
        self.run(move |backend| {
            Ok(Box::new(Serial::new(backend.restore(mode)?, context)) as Box<dyn RestoreSink>)
        })
    }

    fn upgrade(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<u32> {
        self.run(B::upgrade)
    }

    fn extension(self: &Arc<Self>, _call: &CallContext<'_>, name: &str, request: &[u8]) -> Reply<AbiBytes> {
        let (name, request) = (name.to_owned(), request.to_vec());
        self.run(move |backend| backend.extension(&name, &request))
    }

    fn shutdown(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<()> {
        let slot = Arc::clone(&self.backend);
        self.context.close_blocking(move || {
            if let Some(backend) = store(&slot) {
                backend.shutdown()?;
            }
            // No thread runs a call any more, so this drops the store, with its files and locks.
            drop(take(&slot));
            Ok(())
        })
    }
}

/// An object that serves one call at a time, each on a thread of the backend.
struct Serial<T: ?Sized + Send + 'static> {
    object: Arc<Mutex<Option<Box<T>>>>,
    context: OpenContext,
}

impl<T: ?Sized + Send + 'static> Serial<T> {
    fn new(object: Box<T>, context: OpenContext) -> Self {
        Self { object: Arc::new(Mutex::new(Some(object))), context }
    }

    fn run<U: Send + 'static>(&self, work: impl FnOnce(&mut T) -> Result<U> + Send + 'static) -> Reply<U> {
        let object = Arc::clone(&self.object);
        self.context.blocking_in_object(move || {
            let mut object = object.lock().unwrap_or_else(PoisonError::into_inner);
            match object.as_deref_mut() {
                Some(object) => work(object),
                None => Err(Error::new(ErrorCode::CLOSED, "the object has ended")),
            }
        })
    }
}

impl<T: ?Sized + Send + 'static> Drop for Serial<T> {
    fn drop(&mut self) {
        // A rollback may block, and this thread may be the host's. If the backend is closed, its threads are gone, and
        // the object is dropped here.
        let object = Arc::clone(&self.object);
        self.context.detached(move || {
            drop(object.lock().unwrap_or_else(PoisonError::into_inner).take());
        });
    }
}

impl Transaction for Serial<dyn BlockingTransaction> {
    fn get(&self, _call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        let key = KeyBuf::from(key);
        self.run(move |transaction| transaction.get(key.as_key()))
    }

    fn put(&self, _call: &CallContext<'_>, put: Put<'_>) -> Reply<()> {
        let put = PutBuf::from(put);
        self.run(move |transaction| transaction.put(put.as_put()))
    }

    fn delete(&self, _call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let delete = DeleteBuf::from(delete);
        self.run(move |transaction| transaction.delete(delete.as_delete()))
    }

    fn scan(&self, _call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        let plan = plan.into_owned();
        self.run(move |transaction| transaction.scan(plan))
    }

    fn commit(&self, _call: &CallContext<'_>, write_id: WriteId) -> Reply<Committed> {
        self.run(move |transaction| transaction.commit(write_id))
    }

    fn rollback(&self, _call: &CallContext<'_>) -> Reply<()> {
        self.run(|transaction| transaction.rollback())
    }
}

impl BackupStream for Serial<dyn BlockingBackup> {
    fn next(&self, _call: &CallContext<'_>, pull: BackupPull) -> Reply<BackupChunk> {
        self.run(move |backup| backup.next(pull))
    }
}

impl RestoreSink for Serial<dyn BlockingRestore> {
    fn write(&self, _call: &CallContext<'_>, records: &[RestoreRecord<'_>]) -> Reply<()> {
        let records: Vec<RestoreRecordBuf> = records.iter().map(RestoreRecordBuf::from).collect();
        self.run(move |restore| {
            let records: Vec<RestoreRecord<'_>> = records.iter().map(RestoreRecordBuf::as_record).collect();
            restore.write(&records)
        })
    }

    fn finish(&self, _call: &CallContext<'_>, write_id: WriteId) -> Reply<u64> {
        self.run(move |restore| restore.finish(write_id))
    }

    fn abort(&self, _call: &CallContext<'_>) -> Reply<()> {
        self.run(|restore| restore.abort())
    }
}
