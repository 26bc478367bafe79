//! The backend over the log, with methods that may block. The SDK runs them on threads of this backend.

use keyway_sdk::{
    BackupChunk, BackupLevel, BackupPull, Batch, BatchMode, BatchResult, BlockingBackend, Capabilities,
    Delete, DropKeyspace, Durability, Features, Health, Key, Op, OpenContext, Page, PluginInfo, Put,
    ReadConsistency, Record, Result, ScanOrder, Version, WriteId, blocking::BlockingBackup, owned::BatchBuf,
    paging::ScanPlan,
};

use crate::{
    log::{Backup, Config, Log, Write},
    log_file::FORMAT,
};

/// A store in memory, with a log.
pub struct Store(Log);

impl BlockingBackend for Store {
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
            features: Features::ATOMIC_BATCH,
            ..Capabilities::LEAST
        },
        extensions: &[],
    };

    /// Threads that wait for a sync share it.
    const THREADS: usize = 32;

    fn open(config: Config, context: OpenContext) -> Result<Self> {
        Log::open(&config, &context).map(Self)
    }

    fn get(&self, key: Key<'_>) -> Result<Option<Record>> {
        Ok(self.0.records().get(key))
    }

    fn put(&self, put: Put<'_>) -> Result<Version> {
        self.0.write_one(one(put.into(), put.write_id())).map(|result| result.version())
    }

    fn delete(&self, delete: Delete<'_>) -> Result<bool> {
        self.0.write_one(one(delete.into(), delete.write_id())).map(|result| result.existed())
    }

    fn scan(&self, plan: ScanPlan<'_>) -> Result<Page> {
        self.0.records().page(plan)
    }

    fn apply(&self, batch: Batch<'_>) -> Result<BatchResult> {
        Ok(self.0.write(Write::Batch(batch.into()))?.into_iter().collect())
    }

    fn keyspaces(&self, after: &str) -> Result<Vec<String>> {
        Ok(self.0.records().keyspaces(after))
    }

    fn drop_keyspace(&self, drop: DropKeyspace<'_>) -> Result<bool> {
        self.0.write_one(Write::DropKeyspace(drop.name().to_owned())).map(|result| result.existed())
    }

    fn health(&self) -> Result<Health> {
        Ok(self.0.health())
    }

    fn backup(&self) -> Result<Box<dyn BlockingBackup>> {
        Ok(Box::new(Backup::of(self.0.records())))
    }
}

impl BlockingBackup for Backup {
    fn next(&mut self, pull: BackupPull) -> Result<BackupChunk> {
        Self::next(self, pull)
    }
}

fn one(op: Op<'_>, write_id: WriteId) -> Write {
    Write::Batch(BatchBuf::from(Batch::new(&[op], BatchMode::Independent, write_id)))
}
