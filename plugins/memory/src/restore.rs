//! A restore: gathers the records, and publishes all of them in one step.

use std::sync::{Arc, Mutex, PoisonError};

use keyway_sdk::{
    Bytes, CallContext, Error, ErrorCode, Reply, RestoreMode, RestoreRecord, RestoreSink, Result, WriteId,
};

use crate::{
    client::{Entry, Map},
    state::Shared,
};

pub(crate) struct Restore {
    shared: Arc<Shared>,
    mode: RestoreMode,
    records: Mutex<Vec<Restored>>,
}

struct Restored {
    keyspace: String,
    key: Vec<u8>,
    value: Bytes,
    expires_at_ms: Option<u64>,
}

impl Restore {
    pub(crate) fn begin(shared: Arc<Shared>, mode: RestoreMode) -> Result<Self> {
        let restore = Self { shared, mode, records: Mutex::default() };
        restore.check_target(&restore.shared.read().map)?;
        Ok(restore)
    }

    fn check_target(&self, map: &Map) -> Result<()> {
        if self.mode == RestoreMode::INTO_EMPTY && !map.is_empty() {
            return Err(Error::new(
                ErrorCode::INVALID_ARGUMENT,
                "the store is not empty, and the restore wants one that is",
            ));
        }
        Ok(())
    }

    fn finish_now(&self) -> Result<u64> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.shared.write();
        self.check_target(&state.map)?;
        let mut map = Map::default();
        for record in records.iter() {
            let version = self.shared.next_version(&mut state);
            let entry = Entry::new(record.value.clone(), version, record.expires_at_ms);
            map.put(&record.keyspace, &record.key, entry);
        }
        let before = std::mem::replace(&mut state.map, map);
        if let Err(error) = self.shared.check_size(&state) {
            state.map = before;
            return Err(error);
        }
        Ok(records.len() as u64)
    }
}

impl RestoreSink for Restore {
    fn write(&self, _call: &CallContext<'_>, records: &[RestoreRecord<'_>]) -> Reply<()> {
        let mut kept = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(records.iter().map(|record| Restored {
            keyspace: record.key().keyspace().to_owned(),
            key: record.key().bytes().to_vec(),
            value: Bytes::copy_from_slice(record.value()),
            expires_at_ms: record.expires_at_ms(),
        }));
        Reply::ready(Ok(()))
    }

    fn finish(&self, _call: &CallContext<'_>, _write_id: WriteId) -> Reply<u64> {
        Reply::ready(self.finish_now())
    }

    fn abort(&self, _call: &CallContext<'_>) -> Reply<()> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Reply::ready(Ok(()))
    }
}
