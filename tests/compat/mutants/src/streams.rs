//! Backups and restores that are not of one moment.

use std::sync::{Arc, Mutex};

use keyway_sdk::{
    Backend, BackupChunk, BackupPull, BackupRecord, BackupStream, CallContext, Error, ErrorCode, Key, Put,
    Reply, RestoreMode, RestoreRecord, RestoreSink, Result, WriteId,
};

use crate::mutant::{Place, lock, now, place};

type Begin = Box<dyn Fn() -> Result<Box<dyn BackupStream>> + Send + Sync>;

/// Begins a backup again for each pull, and goes on after the records that it has given out.
pub(crate) struct LiveBackup {
    begin: Begin,
    given: Mutex<usize>,
}

impl LiveBackup {
    pub(crate) fn new(begin: impl Fn() -> Result<Box<dyn BackupStream>> + Send + Sync + 'static) -> Self {
        Self { begin: Box::new(begin), given: Mutex::default() }
    }
}

impl BackupStream for LiveBackup {
    fn next(&self, call: &CallContext<'_>, pull: BackupPull) -> Reply<BackupChunk> {
        let all = (self.begin)().and_then(|stream| {
            now(stream.next(call, BackupPull { max_items: u32::MAX, max_bytes: u64::MAX }))
        });
        let mut given = lock(&self.given);
        Reply::ready(all.map(|all| {
            let rest: Vec<_> =
                all.records().iter().skip(*given).take(pull.max_items as usize).map(copy).collect();
            *given += rest.len();
            let is_done = *given >= all.records().len();
            BackupChunk::new(rest, is_done)
        }))
    }
}

fn copy(record: &BackupRecord) -> BackupRecord {
    let (key, value) = (record.key().to_vec(), record.value().to_vec());
    BackupRecord::new(record.keyspace(), key, value, record.version(), record.expires_at_ms())
}

/// Writes records into the store, at once or at the end, and keeps the records that are there.
pub(crate) struct RestoreInPlace<B> {
    inner: Arc<B>,
    at_once: bool,
    kept: Mutex<Vec<(Place, Vec<u8>)>>,
}

impl<B: Backend> RestoreInPlace<B> {
    pub(crate) fn begin(inner: &Arc<B>, mode: RestoreMode, at_once: bool) -> Result<Self> {
        if mode == RestoreMode::INTO_EMPTY
            && !now(inner.keyspaces(&CallContext::background(), ""))?.is_empty()
        {
            return Err(Error::new(ErrorCode::INVALID_ARGUMENT, "the store is not empty"));
        }
        Ok(Self { inner: Arc::clone(inner), at_once, kept: Mutex::default() })
    }

    fn write_now(&self, call: &CallContext<'_>, keyspace: &str, key: &[u8], value: &[u8]) -> Result<()> {
        now(self.inner.put(call, Put::new(Key::new(keyspace, key), value))).map(drop)
    }
}

impl<B: Backend> RestoreSink for RestoreInPlace<B> {
    fn write(&self, call: &CallContext<'_>, records: &[RestoreRecord<'_>]) -> Reply<()> {
        for record in records {
            let (keyspace, key) = (record.key().keyspace(), record.key().bytes());
            if self.at_once
                && let Err(error) = self.write_now(call, keyspace, key, record.value())
            {
                return Reply::ready(Err(error));
            }
            lock(&self.kept).push((place(record.key()), record.value().to_vec()));
        }
        Reply::ready(Ok(()))
    }

    fn finish(&self, call: &CallContext<'_>, _write_id: WriteId) -> Reply<u64> {
        let kept = std::mem::take(&mut *lock(&self.kept));
        for ((keyspace, key), value) in &kept {
            if let Err(error) = self.write_now(call, keyspace, key, value) {
                return Reply::ready(Err(error));
            }
        }
        Reply::ready(Ok(kept.len() as u64))
    }

    fn abort(&self, _call: &CallContext<'_>) -> Reply<()> {
        lock(&self.kept).clear();
        Reply::ready(Ok(()))
    }
}
