//! Reading.

use keyway_common::offload;
use keyway_loader::{Key, Page, Record, Scan};

use crate::{
    Storage, StorageError, Work,
    operation::Operation,
    prefetch::{Found, Prefetched, RecordKey},
};

/// Most records that one call reads by their keys.
const READ_AT_ONCE: usize = 500;
/// How many keys one part of a walk has.
const KEYS_AT_ONCE: u32 = 100;

/// Some of the keys of a keyspace, in order.
#[derive(Debug)]
pub struct Keys {
    /// The keys.
    pub keys: Vec<Vec<u8>>,
    /// The key after which there may be more; none at the end.
    pub next: Option<Vec<u8>>,
}

impl Storage {
    /// The record of a key.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn get(&self, work: &Work, key: Key<'_>) -> Result<Option<Record>, StorageError> {
        let found = self.call(work, Operation::GET, |open, call| open.get(call, key)).await?;
        offload::count(found.as_ref().map_or(0, value_bytes)).await;
        Ok(found)
    }

    /// As [`get`](Self::get), unless the record was prefetched.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn get_or_prefetched<'a>(
        &self,
        work: &Work,
        key: Key<'_>,
        prefetched: Option<&'a Prefetched>,
    ) -> Result<Found<'a>, StorageError> {
        match prefetched.and_then(|prefetched| prefetched.get(key)) {
            Some(record) => Ok(Found::Prefetched(record)),
            None => Ok(Found::Read(self.get(work, key).await?)),
        }
    }

    /// The records of several keys, in their order, as far as they are there.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn get_many(&self, work: &Work, keys: &[Key<'_>]) -> Result<Vec<Option<Record>>, StorageError> {
        let at_once = usize::try_from(self.capabilities(work).limits.batch_ops).unwrap_or(usize::MAX);
        let mut records = Vec::with_capacity(keys.len());
        for keys in keys.chunks(at_once.clamp(1, READ_AT_ONCE)) {
            let found = self.call(work, Operation::GET_MANY, |open, call| open.get_many(call, keys)).await?;
            offload::count(found.iter().flatten().map(value_bytes).sum()).await;
            records.extend(found);
        }
        Ok(records)
    }

    /// Reads in one call the records that a request probably needs soon.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn prefetch(&self, work: &Work, places: Vec<RecordKey>) -> Result<Prefetched, StorageError> {
        let keys: Vec<Key<'_>> = places.iter().map(RecordKey::key).collect();
        let records = match keys.as_slice() {
            [] => Vec::new(),
            [key] => vec![self.get(work, *key).await?],
            keys => self.get_many(work, keys).await?,
        };
        Ok(Prefetched::new(places, records))
    }

    /// One page.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn scan(&self, work: &Work, scan: Scan<'_>) -> Result<Page, StorageError> {
        let page = self.call(work, Operation::SCAN, |open, call| open.scan(call, scan)).await?;
        let entries = page.entries().iter().map(|entry| entry.key().len() + value_bytes(entry.record()));
        let prefixes = page.prefixes().iter().map(|prefix| prefix.len());
        offload::count(entries.chain(prefixes).sum()).await;
        Ok(page)
    }

    /// Some of the keys with a prefix, after the key `after`; an empty `after` is before all keys. For a task
    /// that goes through many keys and may have to resume after a restart.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn keys_after(
        &self,
        work: &Work,
        keyspace: &str,
        prefix: &[u8],
        after: &[u8],
    ) -> Result<Keys, StorageError> {
        let start = if after.is_empty() { Vec::new() } else { [after, &[0]].concat() };
        let mut cursor = Vec::new();
        loop {
            let scan = Scan::prefix(keyspace, prefix).starting_at(&start).keys_only();
            let page = self.scan(work, scan.with_max_items(KEYS_AT_ONCE).resuming_at(&cursor)).await?;
            let keys: Vec<Vec<u8>> = page.entries().iter().map(|entry| entry.key().to_vec()).collect();
            match page.cursor() {
                // A page may be empty though there are more.
                Some(next) if keys.is_empty() => cursor = next.to_vec(),
                Some(_) => return Ok(Keys { next: keys.last().cloned(), keys }),
                None => return Ok(Keys { keys, next: None }),
            }
        }
    }
}

fn value_bytes(record: &Record) -> usize {
    record.value().len()
}
