//! The backend over the map, with methods that may block. The SDK runs them on threads of this backend.

use std::sync::{Mutex, MutexGuard, PoisonError};

use keyway_sdk::{
    Batch, BatchResult, BlockingBackend, Capabilities, Delete, DropKeyspace, Features, Health, Key,
    OpenContext, Page, PluginInfo, Put, ReadConsistency, Record, Result, ScanOrder, Version,
    paging::ScanPlan,
};

use crate::map::{Config, Map};

/// A store in memory.
pub struct Store(Mutex<Map>);

impl Store {
    fn lock(&self) -> MutexGuard<'_, Map> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        data_format: 1,
        capabilities: Capabilities {
            read_consistency: ReadConsistency::LINEARIZABLE,
            scan_order: ScanOrder::BYTEWISE,
            features: Features::ATOMIC_BATCH,
            ..Capabilities::LEAST
        },
        extensions: &[],
    };

    fn open(config: Config, _context: OpenContext) -> Result<Self> {
        Ok(Self(Mutex::new(Map::new(&config)?)))
    }

    fn get(&self, key: Key<'_>) -> Result<Option<Record>> {
        Ok(self.lock().get(key))
    }

    fn put(&self, put: Put<'_>) -> Result<Version> {
        self.lock().put(put)
    }

    fn delete(&self, delete: Delete<'_>) -> Result<bool> {
        self.lock().delete(delete)
    }

    fn scan(&self, plan: ScanPlan<'_>) -> Result<Page> {
        self.lock().page(plan)
    }

    fn apply(&self, batch: Batch<'_>) -> Result<BatchResult> {
        self.lock().apply(&batch)
    }

    fn keyspaces(&self, after: &str) -> Result<Vec<String>> {
        Ok(self.lock().keyspaces(after))
    }

    fn drop_keyspace(&self, drop: DropKeyspace<'_>) -> Result<bool> {
        Ok(self.lock().drop_keyspace(drop))
    }

    fn health(&self) -> Result<Health> {
        Ok(Health::ok(0))
    }
}
