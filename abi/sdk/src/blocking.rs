//! Backends whose store blocks: files, embedded databases, synchronous clients.
//!
//! Implement [`BlockingBackend`] with plain methods, and export `Blocking<YourBackend>`. The SDK runs the methods on
//! threads of the backend, so that no thread of the host waits. It copies what a request borrows, once.

mod adapter;

use keyway_abi::{
    AbiBytes, BackupChunk, BackupPull, Batch, BatchMode, BatchResult, Begin, Capabilities, Committed, Delete,
    DropKeyspace, Error, ErrorCode, Health, Key, Op, OpKind, OpResult, Page, Put, Record, Records,
    RestoreMode, RestoreRecord, Version, WriteId,
};
use serde::de::DeserializeOwned;

pub use self::adapter::Blocking;
#[cfg(doc)]
use crate::{Backend, BackupStream, RestoreSink, Transaction};
use crate::{OpenContext, PluginInfo, Result, backend::check_condition, paging::ScanPlan};

/// A storage backend with methods that may block.
///
/// The methods mean what those of [`Backend`] mean; their defaults are the same. They run on the threads of the
/// backend, up to [`THREADS`](Self::THREADS) at a time. A call that is cancelled before a thread takes it is not made;
/// one that runs comes to its end, and its result is dropped. Calls of transactions and streams have separate threads,
/// so that a call of the store may wait for the end of a transaction.
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

    /// As [`Backend::begin`]. The SDK has checked the isolation and the number of open transactions. It refuses writes if
    /// `read_only` is set, so that a store may hold less for it.
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

    /// As [`Backend::restore`]. The records come in the order of a backup, each key once. A store with records may be
    /// refused here, or by any later call of the sink, if the mode is `INTO_EMPTY`.
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

    /// As [`Backend::shutdown`]. Runs after the calls that were taken by a thread. If it succeeds, the SDK drops the
    /// backend before the host has its answer: files that it owns are closed then, and their locks are released.
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

/// One operation of an independent batch, by the other methods.
fn one_by_one<B: BlockingBackend>(backend: &B, op: &Op<'_>, write_id: WriteId) -> Result<OpResult> {
    match op.kind() {
        OpKind::Put => backend.put(op.as_put(write_id)).map(|version| OpResult::written(version, false)),
        OpKind::Delete => backend.delete(op.as_delete(write_id)).map(OpResult::unversioned),
        OpKind::Check => {
            let record = backend.get(op.key())?;
            check_condition(op.condition(), record.as_ref().map(Record::version))?;
            Ok(OpResult::unversioned(record.is_some()))
        }
    }
}
