//! A map under a lock, with everything that a backend may have: plain methods, no future.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use keyway_sdk::{
    BackupChunk, BackupLevel, BackupPull, BackupRecord, Batch, BatchMode, BatchResult, Begin,
    BlockingBackend, Bytes, Capabilities, Committed, CommittedKey, Delete, DropKeyspace, Error, ErrorCode,
    Features, Health, Isolation, Key, OpKind, OpResult, OpenContext, Page, PluginInfo, Put, ReadConsistency,
    Record, RestoreMode, RestoreRecord, Result, ScanOrder, Version, WriteId,
    backend::check_condition,
    blocking::{BlockingBackup, BlockingRestore, BlockingTransaction},
    owned::KeyBuf,
    paging::{ScanPlan, chunk_with, scan_with},
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
    versions::Versions,
};

/// What an operator may set.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(crate = "serde", default, deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub(crate) struct Config {
    /// Whether the store cannot be opened.
    fails: bool,
    /// A file that is there as long as the store is.
    file: Option<std::path::PathBuf>,
}

/// The records of all keyspaces, and the keyspaces that were ever written and not dropped.
#[derive(Clone, Default)]
struct Map {
    records: BTreeMap<(String, Vec<u8>), (Bytes, Version)>,
    keyspaces: BTreeSet<String>,
    /// Grows with each change.
    changes: u64,
}

impl Map {
    fn version(&self, key: Key<'_>) -> Option<Version> {
        self.records.get(&place(key)).map(|found| found.1)
    }

    fn record(&self, key: Key<'_>) -> Option<Record> {
        self.records.get(&place(key)).map(|(value, version)| Record::new(value.clone(), *version))
    }

    fn insert(&mut self, key: Key<'_>, value: &[u8], version: Version) {
        self.changes += 1;
        self.keyspaces.insert(key.keyspace().to_owned());
        self.records.insert(place(key), (Bytes::copy_from_slice(value), version));
    }

    fn remove(&mut self, key: Key<'_>) -> bool {
        self.changes += 1;
        self.records.remove(&place(key)).is_some()
    }

    fn page(&self, plan: ScanPlan<'_>) -> Result<Page> {
        let keyspace = plan.keyspace().to_owned();
        scan_with(plan, |plan| {
            let begin = (keyspace.clone(), plan.lower().to_vec());
            let upper = plan.upper().map(<[u8]>::to_vec);
            let of_keyspace = self.records.range(begin..).take_while(|((name, _), _)| *name == keyspace);
            let inside =
                of_keyspace.take_while(move |((_, key), _)| upper.as_ref().is_none_or(|upper| key < upper));
            Ok(inside.map(|((_, key), (value, version))| Ok((key, Record::new(value.clone(), *version)))))
        })
    }
}

/// Gets of the key "lock" that a thread has taken.
pub(crate) static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A store in memory.
pub(crate) struct Shelf(Arc<Shared>);

/// A file that is there until this is dropped, as the lock of a store.
struct OwnFile(std::path::PathBuf);

impl Drop for OwnFile {
    fn drop(&mut self) {
        // If it is not there, the test fails at another place.
        let _removed = std::fs::remove_file(&self.0);
    }
}

struct Shared {
    map: Mutex<Map>,
    versions: Versions,
    /// Held by a transaction that put the key "lock", and waited for by gets of that key.
    is_locked: Mutex<bool>,
    unlocked: Condvar,
    _file: Option<OwnFile>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockingBackend for Shelf {
    type Config = Config;

    const PLUGIN: PluginInfo = PluginInfo {
        name: "shelf",
        version: "1.0.0",
        description: "a map under a lock",
        licence: "MIT",
        homepage: "",
        config_schema: r#"{"type":"object","properties":{"fails":{"type":"boolean"},"file":{"type":"string"}},"additionalProperties":false}"#,
        data_format: 1,
        capabilities: Capabilities {
            read_consistency: ReadConsistency::LINEARIZABLE,
            isolation: Isolation::SERIALIZABLE,
            scan_order: ScanOrder::BYTEWISE,
            backup: BackupLevel::POINT_IN_TIME,
            features: Features::ATOMIC_BATCH.union(Features::RESTORE).union(Features::DETECTS_REWIND),
            ..Capabilities::LEAST
        },
        extensions: &[],
    };

    fn open(config: Config, _context: OpenContext) -> Result<Self> {
        if config.fails {
            return Err(Error::new(ErrorCode::UNAVAILABLE, "told to fail"));
        }
        let file = config.file.map(|path| std::fs::write(&path, "").map(|()| OwnFile(path))).transpose()?;
        Ok(Self(Arc::new(Shared {
            map: Mutex::default(),
            versions: Versions::new_incarnation()?,
            is_locked: Mutex::default(),
            unlocked: Condvar::new(),
            _file: file,
        })))
    }

    fn get(&self, key: Key<'_>) -> Result<Option<Record>> {
        // What tests of the threads ask for.
        assert!(key.bytes() != b"told to panic", "told to panic");
        if key.bytes() == b"told to sleep" {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        if key.bytes() == b"lock" {
            WAITING.fetch_add(1, Ordering::SeqCst);
            let locked = self.0.is_locked.lock().unwrap_or_else(PoisonError::into_inner);
            drop(
                self.0.unlocked.wait_while(locked, |locked| *locked).unwrap_or_else(PoisonError::into_inner),
            );
        }
        Ok(self.0.lock().record(key))
    }

    fn put(&self, put: Put<'_>) -> Result<Version> {
        let mut map = self.0.lock();
        check_condition(put.condition(), map.version(put.key()))?;
        let version = self.0.versions.next();
        map.insert(put.key(), put.value(), version);
        Ok(version)
    }

    fn delete(&self, delete: Delete<'_>) -> Result<bool> {
        let mut map = self.0.lock();
        check_condition(delete.condition(), map.version(delete.key()))?;
        Ok(map.remove(delete.key()))
    }

    fn scan(&self, plan: ScanPlan<'_>) -> Result<Page> {
        self.0.lock().page(plan)
    }

    fn apply(&self, batch: Batch<'_>) -> Result<BatchResult> {
        let mut map = self.0.lock();
        let checked: Vec<Result<()>> =
            batch.ops().iter().map(|op| check_condition(op.condition(), map.version(op.key()))).collect();
        if batch.mode() == BatchMode::Atomic
            && let Some((index, error)) =
                checked.iter().enumerate().find_map(|(index, check)| Some((index, check.as_ref().err()?)))
        {
            return Err(error.clone().with_index(index));
        }
        let done = batch.ops().iter().zip(checked).map(|(op, check)| {
            check?;
            let existed = map.version(op.key()).is_some();
            Ok(match op.kind() {
                OpKind::Put => {
                    let version = self.0.versions.next();
                    map.insert(op.key(), op.value(), version);
                    OpResult::written(version, existed)
                }
                OpKind::Delete => OpResult::unversioned(map.remove(op.key())),
                OpKind::Check => OpResult::unversioned(existed),
            })
        });
        Ok(done.collect())
    }

    fn begin(&self, begin: Begin) -> Result<Box<dyn BlockingTransaction>> {
        let map = self.0.lock().clone();
        Ok(Box::new(Work {
            begun: map.changes,
            map,
            writes: BTreeMap::new(),
            is_read_only: begin.read_only,
            shared: Arc::clone(&self.0),
        }))
    }

    fn keyspaces(&self, after: &str) -> Result<Vec<String>> {
        let map = self.0.lock();
        Ok(map.keyspaces.iter().filter(|name| name.as_str() > after).take(1_000).cloned().collect())
    }

    fn drop_keyspace(&self, drop: DropKeyspace<'_>) -> Result<bool> {
        let mut map = self.0.lock();
        map.changes += 1;
        map.records.retain(|(name, _), _| name != drop.name());
        Ok(map.keyspaces.remove(drop.name()))
    }

    fn health(&self) -> Result<Health> {
        Ok(Health::ok(0))
    }

    fn backup(&self) -> Result<Box<dyn BlockingBackup>> {
        let records = self.0.lock().records.clone().into_iter().map(|((keyspace, key), (value, version))| {
            Ok(BackupRecord::new(&keyspace, key, value, version, None))
        });
        Ok(Box::new(Copy((Box::new(records) as Records).peekable())))
    }

    fn restore(&self, mode: RestoreMode) -> Result<Box<dyn BlockingRestore>> {
        if mode == RestoreMode::INTO_EMPTY && !self.0.lock().records.is_empty() {
            return Err(Error::new(ErrorCode::INVALID_ARGUMENT, "the store has records"));
        }
        Ok(Box::new(Refill { shared: Arc::clone(&self.0), map: Map::default() }))
    }
}

/// A transaction: a copy of the map, and the keys that it wrote. It commits if nothing has changed since it began.
struct Work {
    begun: u64,
    map: Map,
    /// Whether each key was put, or else deleted.
    writes: BTreeMap<KeyBuf, bool>,
    is_read_only: bool,
    shared: Arc<Shared>,
}

impl BlockingTransaction for Work {
    fn get(&mut self, key: Key<'_>) -> Result<Option<Record>> {
        Ok(self.map.record(key))
    }

    fn put(&mut self, put: Put<'_>) -> Result<()> {
        if put.key().bytes() == b"lock" {
            *self.shared.is_locked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
        check_condition(put.condition(), self.map.version(put.key()))?;
        // Seen by this transaction alone, and replaced by the commit.
        self.map.insert(put.key(), put.value(), self.shared.versions.next());
        self.writes.insert(put.key().into(), true);
        Ok(())
    }

    fn delete(&mut self, delete: Delete<'_>) -> Result<bool> {
        check_condition(delete.condition(), self.map.version(delete.key()))?;
        self.writes.insert(delete.key().into(), false);
        Ok(self.map.remove(delete.key()))
    }

    fn scan(&mut self, plan: ScanPlan<'_>) -> Result<Page> {
        self.map.page(plan)
    }

    fn commit(&mut self, _write_id: WriteId) -> Result<Committed> {
        let mut map = self.shared.lock();
        if self.is_read_only || self.writes.is_empty() {
            return Ok(Committed::default());
        }
        if map.changes != self.begun {
            return Err(Error::new(ErrorCode::CONFLICT, "the store has changed since the transaction began"));
        }
        let mut committed = Vec::new();
        for (key, is_put) in &self.writes {
            let key = key.as_key();
            let Some(version) = self.map.version(key).filter(|_| *is_put) else {
                map.remove(key);
                continue;
            };
            let value = self.map.record(key).map(Record::into_value).unwrap_or_default();
            map.insert(key, &value, version);
            committed.push(CommittedKey::new(key.keyspace(), key.bytes().to_vec(), version));
        }
        Ok(committed.into_iter().collect())
    }

    fn rollback(&mut self) -> Result<()> {
        self.writes.clear();
        Ok(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        *self.shared.is_locked.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.shared.unlocked.notify_all();
    }
}

type Records = Box<dyn Iterator<Item = Result<BackupRecord>> + Send>;

struct Copy(std::iter::Peekable<Records>);

impl BlockingBackup for Copy {
    fn next(&mut self, pull: BackupPull) -> Result<BackupChunk> {
        chunk_with(&mut self.0, pull)
    }
}

struct Refill {
    shared: Arc<Shared>,
    map: Map,
}

impl BlockingRestore for Refill {
    fn write(&mut self, records: &[RestoreRecord<'_>]) -> Result<()> {
        for record in records {
            self.map.insert(record.key(), record.value(), self.shared.versions.next());
        }
        Ok(())
    }

    fn finish(&mut self, _write_id: WriteId) -> Result<u64> {
        let count = self.map.records.len() as u64;
        let mut map = self.shared.lock();
        let changes = map.changes + 1;
        *map = Map { changes, ..mem::take(&mut self.map) };
        Ok(count)
    }

    fn abort(&mut self) -> Result<()> {
        self.map = Map::default();
        Ok(())
    }
}

fn place(key: Key<'_>) -> (String, Vec<u8>) {
    (key.keyspace().to_owned(), key.bytes().to_vec())
}
