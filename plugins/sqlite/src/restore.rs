//! A restore fills keyspaces that have no name yet, next to the ones in use, and names them in one step. If
//! it ends before that, it leaves orphans, which upkeep removes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyway_sdk::{
    CallContext, Error, ErrorCode, Put, Reply, RestoreMode, RestoreRecord, RestoreSink, Result, WriteId,
};

use crate::{
    client::Client,
    queue::Size,
    shared::Shared,
    sql::Staged,
    write::{OwnedOp, Writing},
};

pub(crate) struct SqliteRestore {
    client: Arc<Client>,
    mode: RestoreMode,
    staging: Arc<Staging>,
}

/// What a restore has written so far. Lives as long as any call of the restore does, so that nothing is taken for
/// abandoned that is about to be published.
struct Staging {
    shared: Arc<Shared>,
    filled: Mutex<Filled>,
}

#[derive(Default)]
struct Filled {
    keyspaces: BTreeMap<String, u64>,
    records: u64,
}

impl Staging {
    fn filled(&self) -> MutexGuard<'_, Filled> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up what was written.
    fn forget(&self) {
        for (_, id) in std::mem::take(&mut *self.filled()).keyspaces {
            self.shared.keep_staged(id, false);
        }
        self.shared.want_upkeep();
    }

    fn write(&self, writing: &mut Writing<'_>, records: &[OwnedOp]) -> Result<()> {
        let mut filled = self.filled();
        for record in records {
            let id = match filled.keyspaces.get(&record.keyspace) {
                Some(id) => *id,
                None => {
                    let id = writing.next_number();
                    self.shared.keep_staged(id, true);
                    filled.keyspaces.insert(record.keyspace.clone(), id);
                    id
                }
            };
            writing.stage(id, record)?;
        }
        Ok(())
    }

    fn publish(&self, writing: &mut Writing<'_>, mode: RestoreMode) -> Result<u64> {
        refuse_unless_empty(writing, mode)?;
        let filled = self.filled();
        let staged: Vec<Staged> =
            filled.keyspaces.iter().map(|(name, id)| Staged { name: name.clone(), id: *id }).collect();
        writing.publish(&staged)?;
        Ok(filled.records)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.forget();
    }
}

fn refuse_unless_empty(writing: &mut Writing<'_>, mode: RestoreMode) -> Result<()> {
    if mode == RestoreMode::INTO_EMPTY && !writing.is_store_empty()? {
        return Err(Error::new(
            ErrorCode::INVALID_ARGUMENT,
            "the store is not empty, and the restore wants one that is",
        ));
    }
    Ok(())
}

impl SqliteRestore {
    pub(crate) fn begin(
        call: &CallContext<'_>,
        client: &Arc<Client>,
        mode: RestoreMode,
    ) -> Reply<Box<dyn RestoreSink>> {
        let staging = Arc::new(Staging { shared: Arc::clone(client.shared()), filled: Mutex::default() });
        let restore = Self { client: Arc::clone(client), mode, staging };
        // Checked early, so that the client does not send a million records in vain. The publication checks
        // it again.
        let checked = client.write(call, "restore", Size { ops: 1, bytes: 0 }, move |writing| {
            refuse_unless_empty(writing, mode)
        });
        checked.map(move |()| Box::new(restore) as Box<dyn RestoreSink>)
    }
}

impl RestoreSink for SqliteRestore {
    fn write(&self, call: &CallContext<'_>, records: &[RestoreRecord<'_>]) -> Reply<()> {
        let records: Vec<OwnedOp> = records
            .iter()
            .map(|record| {
                let put = Put::new(record.key(), record.value());
                OwnedOp::put(&put.expiring_at_ms(record.expires_at_ms().unwrap_or(0)))
            })
            .collect();
        let size = Size { ops: records.len(), bytes: records.iter().map(OwnedOp::bytes).sum() };
        let (staging, counted) = (Arc::clone(&self.staging), Arc::clone(&self.staging));
        let written =
            self.client.write(call, "restore", size, move |writing| staging.write(writing, &records));
        written.map(move |()| counted.filled().records += size.ops as u64)
    }

    fn finish(&self, call: &CallContext<'_>, _write_id: WriteId) -> Reply<u64> {
        let (staging, mode) = (Arc::clone(&self.staging), self.mode);
        self.client
            .write(call, "restore", Size { ops: 1, bytes: 0 }, move |writing| staging.publish(writing, mode))
    }

    fn abort(&self, _call: &CallContext<'_>) -> Reply<()> {
        self.staging.forget();
        Reply::ready(Ok(()))
    }
}
