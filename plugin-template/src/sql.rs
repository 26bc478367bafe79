//! The backend over an SQLite database. Its methods block: the SDK runs them on threads of this backend.

use std::{fs, path::PathBuf, time::Instant};

use keyway_sdk::{
    BackupChunk, BackupLevel, BackupPull, Batch, BatchMode, BatchResult, BlockingBackend, Capabilities,
    Delete, DropKeyspace, Durability, Error, ErrorCode, Features, Health, Key, Op, OpResult, OpenContext,
    Page, PluginInfo, Put, ReadConsistency, Record, Result, ScanOrder, Version, WriteId,
    blocking::BlockingBackup,
    group::GroupCommit,
    owned::BatchBuf,
    paging::ScanPlan,
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

use crate::{
    sql_reader::{Position, Reader, Readers},
    sql_tables::{FORMAT, connect, create_tables},
    sql_writer::{Write, Writer},
};

/// Most writes that share one transaction of the database, and so one sync.
const MOST_WRITES: usize = 64;

/// What an operator may set. An unknown setting is an error.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(crate = "serde", default, deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub struct Config {
    /// The database file, relative to the server's data directory. It is made if there is none.
    pub path: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { path: "store.db".into() }
    }
}

/// A store in a database file.
pub struct Store {
    writer: GroupCommit<Writer>,
    readers: Readers,
    /// Locked while the store is open.
    _lock: fs::File,
}

impl Store {
    fn write_one(&self, write: Write) -> Result<OpResult> {
        let no_answer = || Error::new(ErrorCode::INTERNAL, "no answer").with_unknown_outcome();
        self.writer.submit(write)?.pop().unwrap_or_else(|| Err(no_answer()))
    }
}

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
            features: Features::ATOMIC_BATCH.union(Features::EXPIRY).union(Features::REVERSE_SCAN),
            ..Capabilities::LEAST
        },
        extensions: &[],
    };

    /// Threads that wait for a sync share it.
    const THREADS: usize = 32;

    fn open(config: Config, context: OpenContext) -> Result<Self> {
        let path = context.data_dir().join(&config.path);
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(".lock");
        let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path)?;
        if let Err(error) = lock.try_lock() {
            let message = format!("lock {}: {error}", PathBuf::from(lock_path).display());
            return Err(Error::new(ErrorCode::UNAVAILABLE, message));
        }
        let connection = connect(&path)?;
        create_tables(&connection)?;
        Ok(Self {
            writer: GroupCommit::new(Writer::new(connection)?, MOST_WRITES),
            readers: Readers::new(path),
            _lock: lock,
        })
    }

    fn get(&self, key: Key<'_>) -> Result<Option<Record>> {
        self.readers.with(|reader| reader.get(key))
    }

    fn put(&self, put: Put<'_>) -> Result<Version> {
        self.write_one(one(put.into(), put.write_id())).map(|result| result.version())
    }

    fn delete(&self, delete: Delete<'_>) -> Result<bool> {
        self.write_one(one(delete.into(), delete.write_id())).map(|result| result.existed())
    }

    fn scan(&self, plan: ScanPlan<'_>) -> Result<Page> {
        self.readers.with(|reader| reader.page(plan))
    }

    fn apply(&self, batch: Batch<'_>) -> Result<BatchResult> {
        Ok(self.writer.submit(Write::Batch(batch.into()))?.into_iter().collect())
    }

    fn keyspaces(&self, after: &str) -> Result<Vec<String>> {
        self.readers.with(|reader| reader.keyspaces(after))
    }

    fn drop_keyspace(&self, drop: DropKeyspace<'_>) -> Result<bool> {
        self.write_one(Write::DropKeyspace(drop.name().to_owned())).map(|result| result.existed())
    }

    fn health(&self) -> Result<Health> {
        let begun = Instant::now();
        Ok(match self.writer.submit(Write::Health) {
            Ok(_) => Health::ok(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Err(error) => Health::degraded(true, false, error.message()),
        })
    }

    fn backup(&self) -> Result<Box<dyn BlockingBackup>> {
        let reader = self.readers.take()?;
        reader.begin_snapshot()?;
        Ok(Box::new(Backup { reader, position: Some(Position::default()) }))
    }
}

fn one(op: Op<'_>, write_id: WriteId) -> Write {
    Write::Batch(BatchBuf::from(Batch::new(&[op], BatchMode::Independent, write_id)))
}

/// A backup: a transaction that reads the state of the time when it began.
struct Backup {
    reader: Reader,
    /// Where it goes on; none at the end.
    position: Option<Position>,
}

impl BlockingBackup for Backup {
    fn next(&mut self, pull: BackupPull) -> Result<BackupChunk> {
        let Some(position) = self.position.take() else { return Ok(BackupChunk::new(Vec::new(), true)) };
        let (records, next) = self.reader.records_from(position, pull)?;
        let is_done = next.is_none();
        self.position = next;
        Ok(BackupChunk::new(records, is_done))
    }
}
