//! The SDK's trait over the ordered map. Every call is answered inline.

use std::sync::Arc;

use keyway_sdk::{
    Backend, BackupLevel, BackupStream, Batch, BatchMode, BatchResult, Begin, Bytes, CallContext,
    Capabilities, Delete, DropKeyspace, Durability, Error, ErrorCode, Features, Health, Isolation, Key, Op,
    OpKind, OpResult, OpenContext, Page, PluginInfo, Put, ReadConsistency, Record, Records, Reply,
    RestoreMode, RestoreSink, Result, ScanOrder, Sharing, Transaction, Version, backend::check_condition,
    paging::ScanPlan,
};

use crate::{
    backup::Backup,
    client::{Entry, Looked, Map},
    config::{Config, SCHEMA},
    restore::Restore,
    state::{Shared, State},
    transaction::MemoryTransaction,
};

/// Most names that one answer of `keyspaces` holds.
const KEYSPACES_PAGE: usize = 1_000;

/// A store in memory.
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Shared>,
}

impl Memory {
    /// An empty store.
    ///
    /// # Errors
    ///
    /// `Internal` when the operating system gives no random bytes.
    pub fn new(config: &Config) -> Result<Self> {
        let incarnation = getrandom::u64()
            .map_err(|source| Error::new(ErrorCode::INTERNAL, format!("no random bytes: {source}")))?;
        let shared = Shared::new(incarnation, config.max_bytes);
        Ok(Self { shared: Arc::new(shared) })
    }

    fn put_now(&self, put: Put<'_>) -> Result<Version> {
        let key = put.key();
        // Copied before the lock is taken: the one copy of a write.
        let value = Bytes::copy_from_slice(put.value());
        let mut state = self.shared.write();
        let looked = state.map.look(key.keyspace(), key.bytes(), Some(value.len()));
        check_condition(put.condition(), looked.version)?;
        self.shared.check_room(&state, looked.growth)?;
        let version = self.shared.next_version(&mut state);
        state.map.put(key.keyspace(), key.bytes(), Entry::new(value, version, put.expires_at_ms()));
        Ok(version)
    }

    fn delete_now(&self, delete: Delete<'_>) -> Result<bool> {
        let key = delete.key();
        let mut state = self.shared.write();
        let current = state.map.get(key.keyspace(), key.bytes()).map(Entry::version);
        check_condition(delete.condition(), current)?;
        Ok(state.map.delete(key.keyspace(), key.bytes()))
    }

    fn apply_now(&self, batch: Batch<'_>) -> Result<BatchResult> {
        let mut state = self.shared.write();
        let checks: Vec<Result<Looked>> = batch.ops().iter().map(|op| look(&state.map, op)).collect();
        if batch.mode() == BatchMode::Atomic {
            let mut growth = 0;
            for (index, check) in checks.iter().enumerate() {
                match check {
                    Ok(looked) => growth += looked.growth,
                    Err(error) => return Err(error.clone().with_index(index)),
                }
            }
            self.shared.check_room(&state, growth)?;
        }
        let mut results = Vec::with_capacity(checks.len());
        for (op, check) in batch.ops().iter().zip(checks) {
            results.push(check.and_then(|looked| {
                if batch.mode() == BatchMode::Independent {
                    self.shared.check_room(&state, looked.growth)?;
                }
                Ok(self.apply_op(&mut state, op, looked.version.is_some()))
            }));
        }
        Ok(results.into_iter().collect())
    }

    fn apply_op(&self, state: &mut State, op: &Op<'_>, existed: bool) -> OpResult {
        let (keyspace, key) = (op.key().keyspace(), op.key().bytes());
        match op.kind() {
            OpKind::Put => {
                let version = self.shared.next_version(state);
                let value = Bytes::copy_from_slice(op.value());
                state.map.put(keyspace, key, Entry::new(value, version, op.expires_at_ms()));
                OpResult::written(version, existed)
            }
            OpKind::Delete => {
                state.map.delete(keyspace, key);
                OpResult::unversioned(existed)
            }
            OpKind::Check => OpResult::unversioned(existed),
        }
    }
}

/// What an operation would meet and do, if its condition holds.
fn look(map: &Map, op: &Op<'_>) -> Result<Looked> {
    let value_bytes = (op.kind() == OpKind::Put).then(|| op.value().len());
    let mut looked = map.look(op.key().keyspace(), op.key().bytes(), value_bytes);
    check_condition(op.condition(), looked.version)?;
    if op.kind() == OpKind::Check {
        looked.growth = 0;
    }
    Ok(looked)
}

impl Backend for Memory {
    type Config = Config;

    const PLUGIN: PluginInfo = PluginInfo {
        name: "memory",
        version: env!("CARGO_PKG_VERSION"),
        description: env!("CARGO_PKG_DESCRIPTION"),
        licence: env!("CARGO_PKG_LICENSE"),
        homepage: "",
        config_schema: SCHEMA,
        data_format: 1,
        capabilities: Capabilities {
            read_consistency: ReadConsistency::LINEARIZABLE,
            isolation: Isolation::SERIALIZABLE,
            durability: Durability::VOLATILE,
            scan_order: ScanOrder::BYTEWISE,
            backup: BackupLevel::POINT_IN_TIME,
            sharing: Sharing::ONE_OPENER,
            features: Features::ATOMIC_BATCH
                .union(Features::EXPIRY)
                .union(Features::REVERSE_SCAN)
                .union(Features::RESTORE)
                .union(Features::DETECTS_REWIND)
                .union(Features::INLINE_GET),
            ..Capabilities::LEAST
        },
        extensions: &[],
    };

    fn open(config: Config, _context: OpenContext) -> Reply<Self> {
        Reply::ready(Self::new(&config))
    }

    fn get(self: &Arc<Self>, _call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        let state = self.shared.read();
        Reply::ready(Ok(state.map.get(key.keyspace(), key.bytes()).map(Entry::record)))
    }

    fn get_many(self: &Arc<Self>, _call: &CallContext<'_>, keys: &[Key<'_>]) -> Reply<Records> {
        let mut records = Records::with_capacity(keys.len());
        let state = self.shared.read();
        for key in keys {
            records.push(state.map.get(key.keyspace(), key.bytes()).map(Entry::record));
        }
        Reply::ready(Ok(records))
    }

    fn put(self: &Arc<Self>, _call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        Reply::ready(self.put_now(put))
    }

    fn delete(self: &Arc<Self>, _call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        Reply::ready(self.delete_now(delete))
    }

    fn scan(self: &Arc<Self>, _call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        // On a snapshot, so that a long page keeps no writer waiting.
        let map = self.shared.read().map.clone();
        Reply::ready(Ok(map.scan(plan)))
    }

    fn apply(self: &Arc<Self>, _call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        Reply::ready(self.apply_now(batch))
    }

    fn begin(self: &Arc<Self>, _call: &CallContext<'_>, begin: Begin) -> Reply<Box<dyn Transaction>> {
        Reply::ready(Ok(Box::new(MemoryTransaction::begin(Arc::clone(&self.shared), begin))))
    }

    fn keyspaces(self: &Arc<Self>, _call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        let state = self.shared.read();
        Reply::ready(Ok(state.map.keyspaces(after).take(KEYSPACES_PAGE).map(str::to_owned).collect()))
    }

    fn drop_keyspace(self: &Arc<Self>, _call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        Reply::ready(Ok(self.shared.write().map.drop_keyspace(drop.name())))
    }

    fn health(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Health> {
        let state = self.shared.read();
        let full = self.shared.check_room(&state, 1).err();
        Reply::ready(Ok(match full {
            None => Health::ok(0),
            Some(error) => Health::degraded(true, false, error.message()),
        }))
    }

    fn backup(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Box<dyn BackupStream>> {
        Reply::ready(Ok(Box::new(Backup::new(self.shared.read().map.clone()))))
    }

    fn restore(self: &Arc<Self>, _call: &CallContext<'_>, mode: RestoreMode) -> Reply<Box<dyn RestoreSink>> {
        Reply::ready(Restore::begin(Arc::clone(&self.shared), mode).map(|restore| Box::new(restore) as _))
    }
}
