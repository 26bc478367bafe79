//! A swap of a volatile store, whose records are copied while calls wait.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{Chosen, SwapError, Swapping};
use crate::{
    BackupPull, BackupRecord, CallContext, Error, ErrorCode, Generation, RestoreMode, WriteId, failpoint,
    readback::{self, Scratch},
};

/// Most records and bytes that are copied at a time.
const RECORDS: u32 = 1_000;
const BYTES: u64 = 4 * 1024 * 1024;

impl Swapping {
    /// Opens a new generation, copies the old one's records, and puts the new one into its place. Answers how
    /// many there were, and how long calls have waited.
    pub(super) async fn migrate(
        &self,
        old: &Arc<Generation>,
        chosen: &Chosen,
    ) -> Result<(u64, Duration), SwapError> {
        let new = self.open(&chosen.plugin, &chosen.config).await?;
        failpoint::reached("opened");
        if let Err(error) = self.try_out(Some(old), &new, &Scratch::new()?, false).await {
            self.discard(&new).await;
            return Err(error);
        }
        let begun = Instant::now();
        let hold = self.slot.hold();
        let copied = match self.drain_in_hold(old).await {
            Ok(()) => self.copy_in_time(old, &new).await,
            Err(late) => Err(late),
        };
        match copied {
            Ok(records) => {
                failpoint::reached("copied");
                // What would still be written to it would be lost.
                old.leave();
                self.serve(old, new);
                drop(hold);
                self.retire(old);
                Ok((records, begun.elapsed()))
            }
            Err(error) => {
                drop(hold);
                self.discard(&new).await;
                Err(error)
            }
        }
    }

    async fn copy_in_time(&self, old: &Generation, new: &Generation) -> Result<u64, SwapError> {
        let deadline = self.swap.deadlines.copy;
        let copied = timeout(deadline, copy(old, new)).await;
        let copied = copied.map_err(|_| SwapError::Late { what: "copying the records", deadline })?;
        copied.map_err(|source| SwapError::Copy { source })
    }
}

async fn copy(old: &Generation, new: &Generation) -> Result<u64, Error> {
    let call = CallContext::background();
    let stream = old.backup(&call).await?;
    let sink = new.restore(&call, RestoreMode::INTO_EMPTY).await?;
    loop {
        let chunk = stream.next(&call, BackupPull { max_items: RECORDS, max_bytes: BYTES }).await?;
        // Records of a scratch keyspace are not copied.
        let is_kept = |record: &&BackupRecord| !readback::is_scratch(record.keyspace());
        let records: Vec<_> = chunk.records().iter().filter(is_kept).map(BackupRecord::as_restore).collect();
        if !records.is_empty() {
            sink.write(&call, &records).await?;
        }
        if chunk.is_done() {
            break;
        }
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Error::new(ErrorCode::INTERNAL, error.to_string()))?;
    sink.finish(&call, WriteId::new(id)).await
}
