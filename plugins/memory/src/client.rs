//! The ordered map: keyspaces of keys in persistent B-trees, so that a snapshot costs nothing.

use std::{
    ops::Bound,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use imbl::OrdMap;
use keyway_sdk::{
    AbiBytes, Bytes, Page, Record, Version,
    paging::{Pager, ScanPlan, Step},
};

/// The keys of one keyspace.
pub type Keyspace = OrdMap<Bytes, Entry>;

/// One record.
#[derive(Debug, Clone)]
pub struct Entry {
    value: Bytes,
    version: Version,
    expires_at_ms: Option<u64>,
}

impl Entry {
    /// A record with its version and expiry.
    pub fn new(value: Bytes, version: Version, expires_at_ms: Option<u64>) -> Self {
        Self { value, version, expires_at_ms }
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// When it expires: absolute UTC, in milliseconds since 1970.
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.expires_at_ms
    }

    /// The value.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// The record as it is read; the value is shared.
    pub fn record(&self) -> Record {
        Record::new(self.value.clone(), self.version).with_expiry(self.expires_at_ms)
    }

    /// Whether it has not expired: at `clock`, or now.
    fn is_live(&self, clock: Option<u64>) -> bool {
        self.expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms > clock.unwrap_or_else(now_ms))
    }
}

/// What a write would meet and do.
#[derive(Debug, Clone, Copy)]
pub struct Looked {
    /// The version of the live record.
    pub version: Option<Version>,
    /// By how many bytes the map would grow, or shrink; an expired record counts until it is gone.
    pub growth: i64,
}

/// Everything that is stored. Cloning it is a snapshot and costs a few reference counts.
#[derive(Debug, Clone, Default)]
pub struct Map {
    keyspaces: OrdMap<Arc<str>, Keyspace>,
    bytes: u64,
    /// The time that a transaction's snapshot lives in; for the present map, none.
    clock: Option<u64>,
}

impl Map {
    /// A snapshot in which time stands still, so that nothing expires while it is read.
    pub fn frozen_at_now(&self) -> Self {
        Self { clock: Some(now_ms()), ..self.clone() }
    }

    /// What a write of a value of this length, or of none, would meet and do: one look for the condition and
    /// the size.
    pub fn look(&self, keyspace: &str, key: &[u8], value_bytes: Option<usize>) -> Looked {
        let old = self.keyspaces.get(keyspace).and_then(|keys| keys.get(key));
        let new = value_bytes.map_or(0, |value_bytes| key.len() + value_bytes);
        let growth = i64::try_from(new)
            .unwrap_or(i64::MAX)
            .saturating_sub_unsigned(old.map_or(0, |old| size(key, old)));
        let version = old.filter(|old| old.is_live(self.clock)).map(Entry::version);
        Looked { version, growth }
    }

    /// The live record of a key.
    pub fn get(&self, keyspace: &str, key: &[u8]) -> Option<&Entry> {
        self.keyspaces.get(keyspace)?.get(key).filter(|entry| entry.is_live(self.clock))
    }

    /// Writes a record.
    pub fn put(&mut self, keyspace: &str, key: &[u8], entry: Entry) {
        if !self.keyspaces.contains_key(keyspace) {
            self.keyspaces.insert(keyspace.into(), Keyspace::new());
        }
        let Some(keys) = self.keyspaces.get_mut(keyspace) else { return };
        self.bytes += size(key, &entry);
        if let Some(old) = keys.get_mut(key) {
            self.bytes -= size(key, old);
            *old = entry;
        } else {
            keys.insert(Bytes::copy_from_slice(key), entry);
        }
    }

    /// Removes a record; answers whether a live one was there.
    pub fn delete(&mut self, keyspace: &str, key: &[u8]) -> bool {
        let Some(old) = self.keyspaces.get_mut(keyspace).and_then(|keys| keys.remove(key)) else {
            return false;
        };
        self.bytes -= size(key, &old);
        old.is_live(self.clock)
    }

    /// One page.
    pub fn scan(&self, plan: ScanPlan<'_>) -> Page {
        let keyspace = self.keyspaces.get(plan.keyspace());
        let mut pager = Pager::new(plan);
        let Some(keys) = keyspace else { return pager.finish() };
        while walk(keys, self.clock, &mut pager) == Step::Seek {}
        pager.finish()
    }

    /// The live keys between two bounds with their versions.
    pub fn versions<'a>(
        &'a self,
        keyspace: &str,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], Version)> {
        let bounds = (Bound::Included(lower), upper.map_or(Bound::Unbounded, Bound::Excluded));
        let empty = upper.is_some_and(|upper| upper <= lower);
        let keys = self.keyspaces.get(keyspace).filter(|_| !empty);
        keys.into_iter()
            .flat_map(move |keys| keys.range::<_, [u8]>(bounds))
            .filter(move |(_, entry)| entry.is_live(self.clock))
            .map(|(key, entry)| (&**key, entry.version))
    }

    /// The names of the keyspaces after `after`.
    pub fn keyspaces<'a>(&'a self, after: &str) -> impl Iterator<Item = &'a str> {
        let bounds = (Bound::Excluded(after), Bound::Unbounded);
        self.keyspaces.range::<_, str>(bounds).map(|(name, _)| &**name)
    }

    /// The live records after `position`, ordered by keyspace and key.
    pub fn records_after<'a>(
        &'a self,
        position: Option<(&'a str, &'a [u8])>,
    ) -> impl Iterator<Item = (&'a str, &'a [u8], &'a Entry)> {
        let (first, after) = position.map_or(("", None), |(keyspace, key)| (keyspace, Some(key)));
        self.keyspaces.range::<_, str>((Bound::Included(first), Bound::Unbounded)).flat_map(
            move |(name, keys)| {
                let after = after.filter(|_| **name == *first);
                keys.range::<_, [u8]>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
                    .filter(move |(_, entry)| entry.is_live(self.clock))
                    .map(|(key, entry)| (&**name, &**key, entry))
            },
        )
    }

    /// Removes a keyspace; answers whether it was there.
    pub fn drop_keyspace(&mut self, name: &str) -> bool {
        let Some(keys) = self.keyspaces.remove(name) else { return false };
        self.bytes -= keys.iter().map(|(key, entry)| size(key, entry)).sum::<u64>();
        true
    }

    /// Bytes of keys and values, expired ones included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is no live record.
    pub fn is_empty(&self) -> bool {
        self.keyspaces.iter().all(|(_, keys)| keys.iter().all(|(_, entry)| !entry.is_live(self.clock)))
    }
}

fn walk(keys: &Keyspace, clock: Option<u64>, pager: &mut Pager<'_>) -> Step {
    if pager.plan().is_empty() {
        return Step::Done;
    }
    let lower = Bytes::copy_from_slice(pager.plan().lower());
    let upper = pager.plan().upper().map(Bytes::copy_from_slice);
    let bounds = (Bound::Included(lower), upper.map_or(Bound::Unbounded, Bound::Excluded));
    let range = keys.range(bounds);
    if pager.plan().is_reverse() {
        offer_all(range.rev(), clock, pager)
    } else {
        offer_all(range, clock, pager)
    }
}

fn offer_all<'a>(
    keys: impl Iterator<Item = (&'a Bytes, &'a Entry)>,
    clock: Option<u64>,
    pager: &mut Pager<'_>,
) -> Step {
    for (key, entry) in keys {
        if !entry.is_live(clock) {
            continue;
        }
        let record = || (AbiBytes::from(key.clone()), entry.record());
        let step = pager.offer(key, entry.value.len(), record);
        if step != Step::Next {
            return step;
        }
    }
    Step::Done
}

fn size(key: &[u8], entry: &Entry) -> u64 {
    (key.len() + entry.value.len()) as u64
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
