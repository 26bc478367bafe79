//! Backends whose store blocks: files, embedded databases, synchronous clients.
//!
//! Implement [`BlockingBackend`] with plain methods, and export `Blocking<YourBackend>`. The SDK runs the methods on
//! threads of the backend, so that no thread of the host waits. It copies what a request borrows, once.

use std::sync::{Arc, Mutex, PoisonError};

use keyway_abi::{
    AbiBytes, BackupChunk, BackupPull, Batch, BatchMode, BatchResult, Begin, CallContext, Capabilities,
    Committed, Delete, DropKeyspace, Error, ErrorCode, Health, Key, Op, OpKind, OpResult, Page, Put, Record,
    Records, RestoreMode, RestoreRecord, Version, WriteId,
};
use serde::de::DeserializeOwned;

use crate::{
    Backend, BackupStream, OpenContext, PluginInfo, Reply, RestoreSink, Result, Transaction,
    backend::check_condition,
    owned::{BatchBuf, DeleteBuf, DropKeyspaceBuf, KeyBuf, PutBuf, RestoreRecordBuf},
    paging::ScanPlan,
};

/// A storage backend with methods that may block.
///
/// The methods mean what those of [`Backend`] mean; their defaults are the same. They run on the threads of the
/// backend, up to [`THREADS`](Self::THREADS) at a time. A call that is cancelled before a thread takes it is not made;
/// one that runs comes to its end, and its result is dropped.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a backend with blocking methods",
    label = "this type does not implement `keyway_sdk::BlockingBackend`",
    note = "implement `keyway_sdk::BlockingBackend` for it, and export `keyway_sdk::Blocking<{Self}>`"
)]
pub trait BlockingBackend: Send + Sync + Sized + 'static {
    /// As [`Backend::Config`].
    type Config: DeserializeOwned + schemars::JsonSchema + Send + 'static;

    /// As [`Backend::PLUGIN`].
    const PLUGIN: PluginInfo;

    /// Most threads that run calls. More than the store can use only wait there.
    const THREADS: usize = 8;

    /// As [`Backend::open`].
    ///
    /// # Errors
    ///
    /// Why the store cannot be opened.
    fn open(config: Self::Config, context: OpenContext) -> Result<Self>;

    /// As [`Backend::capabilities`].
    fn capabilities(&self) -> Capabilities {
        Capabilities { data_format: Self::PLUGIN.data_format, ..Self::PLUGIN.capabilities }
    }

    /// As [`Backend::get`].
    ///
    /// # Errors
    ///
    /// The store's.
    fn get(&self, key: Key<'_>) -> Result<Option<Record>>;

    /// As [`Backend::get_many`]. The default gets one after the other.
    ///
    /// # Errors
    ///
    /// The first that occurs.
    fn get_many(&self, keys: &[Key<'_>]) -> Result<Records> {
        keys.iter().map(|key| self.get(*key)).collect()
    }

    /// As [`Backend::put`].
    ///
    /// # Errors
    ///
    /// Those of [`check_condition`], and the store's.
    fn put(&self, put: Put<'_>) -> Result<Version>;

    /// As [`Backend::delete`].
    ///
    /// # Errors
    ///
    /// Those of [`check_condition`], and the store's.
    fn delete(&self, delete: Delete<'_>) -> Result<bool>;

    /// As [`Backend::scan`].
    ///
    /// # Errors
    ///
    /// The store's.
    fn scan(&self, plan: ScanPlan<'_>) -> Result<Page>;

    /// As [`Backend::apply`]. The default does independent operations one after the other and refuses atomic ones.
    ///
    /// # Errors
    ///
    /// `Unsupported` for an atomic batch. Other errors are those of single operations, in the result.
    fn apply(&self, batch: Batch<'_>) -> Result<BatchResult> {
        if batch.mode() == BatchMode::Atomic {
            return Err(Error::unsupported("an atomic batch"));
        }
        Ok(batch.ops().iter().map(|op| one_by_one(self, op, batch.write_id())).collect())
    }

    /// As [`Backend::begin`].
    ///
    /// # Errors
    ///
    /// `Unsupported`, unless it is overridden.
    fn begin(&self, _begin: Begin) -> Result<Box<dyn BlockingTransaction>> {
        Err(Error::unsupported("a transaction"))
    }

    /// As [`Backend::keyspaces`].
    ///
    /// # Errors
    ///
    /// The store's.
    fn keyspaces(&self, after: &str) -> Result<Vec<String>>;

    /// As [`Backend::drop_keyspace`].
    ///
    /// # Errors
    ///
    /// The store's.
    fn drop_keyspace(&self, drop: DropKeyspace<'_>) -> Result<bool>;

    /// As [`Backend::health`].
    ///
    /// # Errors
    ///
    /// Only if nothing can be said about the store. A store that does not serve is an answer.
    fn health(&self) -> Result<Health>;

    /// As [`Backend::backup`].
    ///
    /// # Errors
    ///
    /// `Unsupported`, unless it is overridden.
    fn backup(&self) -> Result<Box<dyn BlockingBackup>> {
        Err(Error::unsupported("backup"))
    }

    /// As [`Backend::restore`].
    ///
    /// # Errors
    ///
    /// `Unsupported`, unless it is overridden.
    fn restore(&self, _mode: RestoreMode) -> Result<Box<dyn BlockingRestore>> {
        Err(Error::unsupported("restore"))
    }

    /// As [`Backend::upgrade`].
    ///
    /// # Errors
    ///
    /// The store's. The data is then as it was.
    fn upgrade(&self) -> Result<u32> {
        Ok(Self::PLUGIN.data_format)
    }

    /// As [`Backend::extension`].
    ///
    /// # Errors
    ///
    /// `NotFound` for a name that the backend does not have.
    fn extension(&self, name: &str, _request: &[u8]) -> Result<AbiBytes> {
        Err(Error::new(ErrorCode::NOT_FOUND, format!("there is no extension named {name}")))
    }

    /// As [`Backend::shutdown`]. Runs after the calls that were taken by a thread. It releases every lock of the store.
    ///
    /// # Errors
    ///
    /// The store's.
    fn shutdown(&self) -> Result<()> {
        Ok(())
    }
}

/// A transaction whose methods may block. They mean what those of [`Transaction`] mean. Dropping it rolls back, on a
/// thread of the backend.
pub trait BlockingTransaction: Send {
    /// As [`Transaction::get`].
    ///
    /// # Errors
    ///
    /// The store's.
    fn get(&mut self, key: Key<'_>) -> Result<Option<Record>>;

    /// As [`Transaction::put`].
    ///
    /// # Errors
    ///
    /// Those of [`check_condition`], and the store's.
    fn put(&mut self, put: Put<'_>) -> Result<()>;

    /// As [`Transaction::delete`].
    ///
    /// # Errors
    ///
    /// Those of [`check_condition`], and the store's.
    fn delete(&mut self, delete: Delete<'_>) -> Result<bool>;

    /// As [`Transaction::scan`].
    ///
    /// # Errors
    ///
    /// The store's.
    fn scan(&mut self, plan: ScanPlan<'_>) -> Result<Page>;

    /// As [`Transaction::commit`].
    ///
    /// # Errors
    ///
    /// `Conflict` if the caller can try the whole transaction again.
    fn commit(&mut self, write_id: WriteId) -> Result<Committed>;

    /// As [`Transaction::rollback`].
    ///
    /// # Errors
    ///
    /// The store's.
    fn rollback(&mut self) -> Result<()>;
}

/// A backup whose method may block. It means what that of [`BackupStream`] means.
pub trait BlockingBackup: Send {
    /// As [`BackupStream::next`].
    ///
    /// # Errors
    ///
    /// The store's.
    fn next(&mut self, pull: BackupPull) -> Result<BackupChunk>;
}

/// A restore whose methods may block. They mean what those of [`RestoreSink`] mean. Dropping it aborts, on a thread of
/// the backend.
pub trait BlockingRestore: Send {
    /// As [`RestoreSink::write`].
    ///
    /// # Errors
    ///
    /// The store's.
    fn write(&mut self, records: &[RestoreRecord<'_>]) -> Result<()>;

    /// As [`RestoreSink::finish`].
    ///
    /// # Errors
    ///
    /// The store's.
    fn finish(&mut self, write_id: WriteId) -> Result<u64>;

    /// As [`RestoreSink::abort`].
    ///
    /// # Errors
    ///
    /// The store's.
    fn abort(&mut self) -> Result<()>;
}

/// Makes a [`BlockingBackend`] a [`Backend`]. Export this: `keyway_sdk::export_backend!(Blocking<Store>)`.
#[derive(Debug)]
pub struct Blocking<B> {
    backend: Arc<B>,
    context: OpenContext,
}

impl<B: BlockingBackend> Blocking<B> {
    fn run<T: Send + 'static>(&self, work: impl FnOnce(&B) -> Result<T> + Send + 'static) -> Reply<T> {
        let backend = Arc::clone(&self.backend);
        self.context.blocking(move || work(&backend))
    }
}

impl<B: BlockingBackend> Backend for Blocking<B> {
    type Config = B::Config;

    const PLUGIN: PluginInfo = B::PLUGIN;

    fn open(config: Self::Config, context: OpenContext) -> Reply<Self> {
        context.set_blocking_threads(B::THREADS);
        let given = context.clone();
        let opened = context.blocking(move || B::open(config, given));
        opened.map(|backend| Self { backend: Arc::new(backend), context })
    }

    fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
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
        let backend = Arc::clone(&self.backend);
        self.context.close_blocking(move || backend.shutdown())
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
        self.context.blocking(move || {
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
        // A rollback may block, and this thread may be the host's. If the backend is closed, its threads are gone,
        // and so is what the object held of the store: it is dropped here.
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

/// One operation of an independent batch, by the other methods.
fn one_by_one<B: BlockingBackend>(backend: &B, op: &Op<'_>, write_id: WriteId) -> Result<OpResult> {
    match op.kind() {
        OpKind::Put => {
            let put = Put::new(op.key(), op.value())
                .when(op.condition())
                .expiring_at_ms(op.expires_at_ms().unwrap_or(0))
                .with_write_id(write_id);
            backend.put(put).map(|version| OpResult::written(version, false))
        }
        OpKind::Delete => {
            let delete = Delete::new(op.key()).when(op.condition()).with_write_id(write_id);
            backend.delete(delete).map(OpResult::unversioned)
        }
        OpKind::Check => {
            let record = backend.get(op.key())?;
            check_condition(op.condition(), record.as_ref().map(Record::version))?;
            Ok(OpResult::unversioned(record.is_some()))
        }
    }
}
