//! The records, in a map. They are gone when the store closes.

use std::{collections::BTreeMap, ops::Bound};

use keyway_sdk::{
    Batch, BatchMode, BatchResult, Bytes, Condition, Delete, DropKeyspace, Error, ErrorCode, Key, Op, OpKind,
    OpResult, Page, Put, Record, Result, Version,
    backend::check_condition,
    paging::{ScanPlan, scan_with},
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
    versions::Versions,
};

/// What an operator may set. An unknown setting is an error.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(crate = "serde", default, deny_unknown_fields)]
#[schemars(crate = "schemars")]
pub struct Config {
    /// The most keys that the store holds. A put of one more key is refused.
    pub max_keys: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_keys: 1_000_000 }
    }
}

/// The keys of one keyspace, with their records.
type Keyspace = BTreeMap<Vec<u8>, (Bytes, Version)>;

/// All records.
pub(crate) struct Map {
    max_keys: usize,
    versions: Versions,
    /// A keyspace exists from its first write until it is dropped, even if it has no key.
    keyspaces: BTreeMap<String, Keyspace>,
    /// How many keys there are in all keyspaces.
    keys: usize,
}

impl Map {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let versions = Versions::new_incarnation()?;
        Ok(Self { max_keys: config.max_keys, versions, keyspaces: BTreeMap::new(), keys: 0 })
    }

    pub(crate) fn get(&self, key: Key<'_>) -> Option<Record> {
        let (value, version) = self.keyspaces.get(key.keyspace())?.get(key.bytes())?;
        Some(Record::new(value.clone(), *version))
    }

    pub(crate) fn put(&mut self, put: Put<'_>) -> Result<Version> {
        self.check(put.key(), put.condition())?;
        self.insert(put.key(), put.value())
    }

    pub(crate) fn delete(&mut self, delete: Delete<'_>) -> Result<bool> {
        self.check(delete.key(), delete.condition())?;
        Ok(self.remove(delete.key()))
    }

    pub(crate) fn page(&self, plan: ScanPlan<'_>) -> Result<Page> {
        let empty = Keyspace::new();
        let keys = self.keyspaces.get(plan.keyspace()).unwrap_or(&empty);
        scan_with(plan, |plan| {
            let lower = Bound::Included(plan.lower().to_vec());
            let upper = plan.upper().map_or(Bound::Unbounded, |upper| Bound::Excluded(upper.to_vec()));
            let range = keys.range((lower, upper));
            Ok(range.map(|(key, (value, version))| Ok((key, Record::new(value.clone(), *version)))))
        })
    }

    pub(crate) fn apply(&mut self, batch: &Batch<'_>) -> Result<BatchResult> {
        // Conditions see the state before the batch.
        let checks: Vec<Result<()>> =
            batch.ops().iter().map(|op| self.check(op.key(), op.condition())).collect();
        if batch.mode() == BatchMode::Atomic {
            for (index, check) in checks.iter().enumerate() {
                check.clone().map_err(|error| error.with_index(index))?;
            }
            let is_new = |op: &&Op<'_>| op.kind() == OpKind::Put && self.version(op.key()).is_none();
            self.check_room(batch.ops().iter().filter(is_new).count())?;
        }
        let pairs = batch.ops().iter().zip(checks);
        Ok(pairs.map(|(op, check)| check.and_then(|()| self.apply_one(op))).collect())
    }

    pub(crate) fn keyspaces(&self, after: &str) -> Vec<String> {
        let later = self.keyspaces.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        later.take(1_000).map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn drop_keyspace(&mut self, drop: DropKeyspace<'_>) -> bool {
        let dropped = self.keyspaces.remove(drop.name());
        self.keys -= dropped.as_ref().map_or(0, Keyspace::len);
        dropped.is_some()
    }

    fn version(&self, key: Key<'_>) -> Option<Version> {
        Some(self.keyspaces.get(key.keyspace())?.get(key.bytes())?.1)
    }

    fn check(&self, key: Key<'_>, condition: Condition) -> Result<()> {
        check_condition(condition, self.version(key))
    }

    fn check_room(&self, new_keys: usize) -> Result<()> {
        if self.keys + new_keys <= self.max_keys {
            return Ok(());
        }
        let message = format!("the store has {} keys; max_keys is {}", self.keys, self.max_keys);
        Err(Error::new(ErrorCode::RESOURCE_EXHAUSTED, message))
    }

    fn apply_one(&mut self, op: &Op<'_>) -> Result<OpResult> {
        let existed = self.version(op.key()).is_some();
        Ok(match op.kind() {
            OpKind::Put => OpResult::written(self.insert(op.key(), op.value())?, existed),
            OpKind::Delete => OpResult::unversioned(self.remove(op.key())),
            OpKind::Check => OpResult::unversioned(existed),
        })
    }

    fn insert(&mut self, key: Key<'_>, value: &[u8]) -> Result<Version> {
        self.check_room(usize::from(self.version(key).is_none()))?;
        let version = self.versions.next();
        let keyspace = self.keyspaces.entry(key.keyspace().to_owned()).or_default();
        let before = keyspace.insert(key.bytes().to_vec(), (Bytes::copy_from_slice(value), version));
        self.keys += usize::from(before.is_none());
        Ok(version)
    }

    /// Removes a key, and says whether it existed.
    fn remove(&mut self, key: Key<'_>) -> bool {
        let keyspace = self.keyspaces.get_mut(key.keyspace());
        let existed = keyspace.is_some_and(|keys| keys.remove(key.bytes()).is_some());
        self.keys -= usize::from(existed);
        existed
    }
}
