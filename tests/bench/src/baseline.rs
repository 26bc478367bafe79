//! The baseline: the same map in an `Arc<dyn async_trait>` in this binary, with the same locks, copies and
//! records.

use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use keyway_memory_backend::client::{Entry, Map};
use keyway_sdk::{
    Error, Op, OpKind, OpResult, Page, Record, Scan, Version, backend::check_condition, paging::ScanPlan,
};

/// What a server without plugins would have.
#[async_trait]
pub(crate) trait Storage: Send + Sync {
    async fn get(&self, keyspace: &str, key: &[u8]) -> Result<Option<Record>, Error>;
    async fn get_many(&self, keyspace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Record>>, Error>;
    async fn put(&self, keyspace: &str, key: &[u8], value: &[u8]) -> Result<Version, Error>;
    async fn delete(&self, keyspace: &str, key: &[u8]) -> Result<bool, Error>;
    async fn scan(&self, scan: Scan<'_>) -> Result<Page, Error>;
    async fn apply(&self, ops: &[Op<'_>]) -> Result<Vec<OpResult>, Error>;
}

#[derive(Default)]
pub(crate) struct InProcess {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    map: Map,
    last_version: u64,
}

impl State {
    fn put(&mut self, keyspace: &str, key: &[u8], value: Bytes) -> Version {
        self.last_version += 1;
        let version = Version::numbered(1, self.last_version);
        self.map.put(keyspace, key, Entry::new(value, version, None));
        version
    }
}

#[async_trait]
impl Storage for InProcess {
    async fn get(&self, keyspace: &str, key: &[u8]) -> Result<Option<Record>, Error> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Ok(state.map.get(keyspace, key).map(Entry::record))
    }

    async fn get_many(&self, keyspace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Record>>, Error> {
        let mut records = Vec::with_capacity(keys.len());
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            records.push(state.map.get(keyspace, key).map(Entry::record));
        }
        Ok(records)
    }

    async fn put(&self, keyspace: &str, key: &[u8], value: &[u8]) -> Result<Version, Error> {
        let value = Bytes::copy_from_slice(value);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let current = state.map.get(keyspace, key).map(Entry::version);
        check_condition(keyway_sdk::Condition::Any, current)?;
        Ok(state.put(keyspace, key, value))
    }

    async fn delete(&self, keyspace: &str, key: &[u8]) -> Result<bool, Error> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let current = state.map.get(keyspace, key).map(Entry::version);
        check_condition(keyway_sdk::Condition::Any, current)?;
        Ok(state.map.delete(keyspace, key))
    }

    async fn scan(&self, scan: Scan<'_>) -> Result<Page, Error> {
        let map = self.state.read().unwrap_or_else(PoisonError::into_inner).map.clone();
        Ok(map.scan(ScanPlan::new(&scan, None)))
    }

    async fn apply(&self, ops: &[Op<'_>]) -> Result<Vec<OpResult>, Error> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for op in ops {
            let current = state.map.get(op.key().keyspace(), op.key().bytes()).map(Entry::version);
            check_condition(op.condition(), current)?;
        }
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            let (keyspace, key) = (op.key().keyspace(), op.key().bytes());
            let existed = state.map.get(keyspace, key).is_some();
            results.push(match op.kind() {
                OpKind::Put => {
                    OpResult::written(state.put(keyspace, key, Bytes::copy_from_slice(op.value())), existed)
                }
                OpKind::Delete => {
                    state.map.delete(keyspace, key);
                    OpResult::unversioned(existed)
                }
                OpKind::Check => OpResult::unversioned(existed),
            });
        }
        Ok(results)
    }
}
