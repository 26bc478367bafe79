//! Backups and restores of the backend within.

use keyway_sdk::{
    BackupChunk, BackupPull, BackupStream, CallContext, Reply, RestoreRecord, RestoreSink, WriteId,
};

pub(crate) struct Backup(pub(crate) keyway_loader::BackupStream);

impl BackupStream for Backup {
    fn next(&self, call: &CallContext<'_>, pull: BackupPull) -> Reply<BackupChunk> {
        Reply::pending(self.0.next(call, pull))
    }
}

pub(crate) struct Restore(pub(crate) keyway_loader::RestoreSink);

impl RestoreSink for Restore {
    fn write(&self, call: &CallContext<'_>, records: &[RestoreRecord<'_>]) -> Reply<()> {
        Reply::pending(self.0.write(call, records))
    }

    fn finish(&self, call: &CallContext<'_>, write_id: WriteId) -> Reply<u64> {
        Reply::pending(self.0.finish(call, write_id))
    }

    fn abort(&self, call: &CallContext<'_>) -> Reply<()> {
        Reply::pending(self.0.abort(call))
    }
}
