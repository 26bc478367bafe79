//! Backup of a snapshot.

use std::sync::{Mutex, PoisonError};

use keyway_sdk::{BackupChunk, BackupPull, BackupRecord, BackupStream, Bytes, CallContext, Reply};

use crate::client::Map;

pub(crate) struct Backup {
    snapshot: Map,
    /// The last record that was given out.
    position: Mutex<Option<(String, Vec<u8>)>>,
}

impl Backup {
    pub(crate) fn new(snapshot: Map) -> Self {
        Self { snapshot, position: Mutex::new(None) }
    }
}

impl BackupStream for Backup {
    fn next(&self, _call: &CallContext<'_>, pull: BackupPull) -> Reply<BackupChunk> {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Vec::new();
        let mut bytes = 0;
        let behind = position.as_ref().map(|(keyspace, key)| (keyspace.as_str(), key.as_slice()));
        let mut rest = self.snapshot.records_after(behind).peekable();
        while let Some((keyspace, key, entry)) = rest.peek() {
            let size = (key.len() + entry.value().len()) as u64;
            let full =
                records.len() as u64 >= u64::from(pull.max_items.max(1)) || bytes + size > pull.max_bytes;
            if full && !records.is_empty() {
                break;
            }
            bytes += size;
            let key = Bytes::copy_from_slice(key);
            records.push(BackupRecord::new(
                keyspace,
                key,
                entry.value().clone(),
                entry.version(),
                entry.expires_at_ms(),
            ));
            rest.next();
        }
        let done = rest.peek().is_none();
        drop(rest);
        if let Some(last) = records.last() {
            *position = Some((last.keyspace().to_owned(), last.key().to_vec()));
        }
        Reply::ready(Ok(BackupChunk::new(records, done)))
    }
}
