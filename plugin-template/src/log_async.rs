//! The backend over the log: reads answer at once, and writes wait on threads of this backend.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use keyway_sdk::{
    Backend, BackupChunk, BackupLevel, BackupPull, BackupStream, Batch, BatchMode, BatchResult, CallContext,
    Capabilities, Delete, DropKeyspace, Durability, Error, ErrorCode, Features, Health, Key, Op, OpenContext,
    Page, PluginInfo, Put, ReadConsistency, Record, Reply, Result, ScanOrder, Version, WriteId,
    owned::BatchBuf, paging::ScanPlan,
};

use crate::{
    log::{Backup, Config, Log, Records, Write},
    log_file::FORMAT,
};

/// Threads that wait for a sync share it.
const THREADS: usize = 32;

/// A store in memory, with a log.
pub struct Store {
    /// None after the shutdown, which closes the log.
    log: RwLock<Option<Arc<Log>>>,
    context: OpenContext,
}

impl Store {
    fn log(&self) -> Result<Arc<Log>> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner).clone();
        log.ok_or_else(|| Error::new(ErrorCode::CLOSED, "the log is closed"))
    }

    /// The records at this time: there is nothing to wait for.
    fn read<T>(&self, read: impl FnOnce(Records) -> Result<T>) -> Reply<T> {
        self.log().and_then(|log| read(log.records())).into()
    }

    /// On a thread of this backend, which waits for the disk.
    fn write<T: Send + 'static>(
        self: &Arc<Self>,
        write: impl FnOnce(&Log) -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        let store = Arc::clone(self);
        self.context.blocking(move || write(&*store.log()?))
    }
}

impl Backend for Store {
    type Config = Config;

    const PLUGIN: PluginInfo = PluginInfo {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        description: env!("CARGO_PKG_DESCRIPTION"),
        licence: env!("CARGO_PKG_LICENSE"),
        homepage: env!("CARGO_PKG_HOMEPAGE"),
        config_schema: include_str!("../config.schema.json"),
        data_format: FORMAT,
        capabilities: Capabilities {
            read_consistency: ReadConsistency::LINEARIZABLE,
            durability: Durability::POWER_LOSS,
            scan_order: ScanOrder::BYTEWISE,
            backup: BackupLevel::POINT_IN_TIME,
            features: Features::ATOMIC_BATCH.union(Features::INLINE_GET),
            ..Capabilities::LEAST
        },
        extensions: &[],
    };

    fn open(config: Config, context: OpenContext) -> Reply<Self> {
        context.set_blocking_threads(THREADS);
        let own = context.clone();
        context.blocking(move || {
            let log = RwLock::new(Some(Arc::new(Log::open(&config, &own)?)));
            Ok(Self { log, context: own })
        })
    }

    fn get(self: &Arc<Self>, _call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        self.read(|records| Ok(records.get(key)))
    }

    fn put(self: &Arc<Self>, _call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        let write = one(put.into(), put.write_id());
        self.write(|log| Ok(log.write_one(write)?.version()))
    }

    fn delete(self: &Arc<Self>, _call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let write = one(delete.into(), delete.write_id());
        self.write(|log| Ok(log.write_one(write)?.existed()))
    }

    fn scan(self: &Arc<Self>, _call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        self.read(|records| records.page(plan))
    }

    fn apply(self: &Arc<Self>, _call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        let write = Write::Batch(batch.into());
        self.write(|log| Ok(log.write(write)?.into_iter().collect()))
    }

    fn keyspaces(self: &Arc<Self>, _call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        self.read(|records| Ok(records.keyspaces(after)))
    }

    fn drop_keyspace(self: &Arc<Self>, _call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        let write = Write::DropKeyspace(drop.name().to_owned());
        self.write(|log| Ok(log.write_one(write)?.existed()))
    }

    fn health(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Health> {
        self.write(|log| Ok(log.health()))
    }

    fn backup(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Box<dyn BackupStream>> {
        self.read(|records| {
            let backup: Box<dyn BackupStream> = Box::new(Stream(Mutex::new(Backup::of(records))));
            Ok(backup)
        })
    }

    fn shutdown(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<()> {
        let store = Arc::clone(self);
        self.context.close_blocking(move || {
            // No thread writes any more, so this closes the files and releases the lock.
            store.log.write().unwrap_or_else(PoisonError::into_inner).take();
            Ok(())
        })
    }
}

struct Stream(Mutex<Backup>);

impl BackupStream for Stream {
    fn next(&self, _call: &CallContext<'_>, pull: BackupPull) -> Reply<BackupChunk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next(pull).into()
    }
}

fn one(op: Op<'_>, write_id: WriteId) -> Write {
    Write::Batch(BatchBuf::from(Batch::new(&[op], BatchMode::Independent, write_id)))
}
