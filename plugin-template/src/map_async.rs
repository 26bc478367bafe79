//! The backend over the map. Each method answers at once: it waits for nothing but the lock of the map.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyway_sdk::{
    Backend, Batch, BatchResult, CallContext, Capabilities, Delete, DropKeyspace, Features, Health, Key,
    OpenContext, Page, PluginInfo, Put, ReadConsistency, Record, Reply, ScanOrder, Version, paging::ScanPlan,
};

use crate::map::{Config, Map};

/// A store in memory.
pub struct Store(Mutex<Map>);

impl Store {
    /// Held for microseconds, and never while something waits: a call may not block its thread.
    fn lock(&self) -> MutexGuard<'_, Map> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        data_format: 1,
        capabilities: Capabilities {
            read_consistency: ReadConsistency::LINEARIZABLE,
            scan_order: ScanOrder::BYTEWISE,
            features: Features::ATOMIC_BATCH.union(Features::INLINE_GET),
            ..Capabilities::LEAST
        },
        extensions: &[],
    };

    fn open(config: Config, _context: OpenContext) -> Reply<Self> {
        Map::new(&config).map(|map| Self(Mutex::new(map))).into()
    }

    fn get(self: &Arc<Self>, _call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        Ok(self.lock().get(key)).into()
    }

    fn put(self: &Arc<Self>, _call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
        self.lock().put(put).into()
    }

    fn delete(self: &Arc<Self>, _call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        self.lock().delete(delete).into()
    }

    fn scan(self: &Arc<Self>, _call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        self.lock().page(plan).into()
    }

    fn apply(self: &Arc<Self>, _call: &CallContext<'_>, batch: Batch<'_>) -> Reply<BatchResult> {
        self.lock().apply(&batch).into()
    }

    fn keyspaces(self: &Arc<Self>, _call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
        Ok(self.lock().keyspaces(after)).into()
    }

    fn drop_keyspace(self: &Arc<Self>, _call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
        Ok(self.lock().drop_keyspace(drop)).into()
    }

    fn health(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Health> {
        Ok(Health::ok(0)).into()
    }
}
