//! The FFI objects around a backup and a restore.

use std::mem::ManuallyDrop;

use abi_stable::std_types::RSlice;
use keyway_abi::{
    BackupChunk, BackupPull, CallContext, Capabilities, ForeignReply, Put, Request, RestoreRecord, WriteId,
    backup::{BackupStream as ForeignBackup, RestoreSink as ForeignRestore},
};

use super::{
    check::{self, checked},
    guard::{Guard, GuardedCall},
    turn::{Ends, Stage},
};
use crate::{BackupStream, RestoreSink};

pub(super) struct BackupBridge {
    stream: ManuallyDrop<Box<dyn BackupStream>>,
    guard: Guard,
    stage: Stage,
}

impl BackupBridge {
    pub(super) fn new(stream: Box<dyn BackupStream>, guard: Guard) -> Self {
        Self { stream: ManuallyDrop::new(stream), guard, stage: Stage::of_stream("backup") }
    }
}

impl ForeignBackup for BackupBridge {
    fn next(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, BackupPull>,
        reply: &mut ForeignReply<BackupChunk>,
    ) {
        let pull = checked!(reply, check::understood(call, request));
        let turn = checked!(reply, self.stage.claim(Ends::No));
        let work = || turn.around(self.stream.next(call, pull));
        self.guard.call(reply, GuardedCall::reads(call, "backup"), work, |chunk| chunk)
    }
}

impl Drop for BackupBridge {
    fn drop(&mut self) {
        // SAFETY: this is the only place that takes the stream, and it is not used again.
        let stream = unsafe { ManuallyDrop::take(&mut self.stream) };
        self.guard.drop_value("the drop of a backup", stream);
    }
}

pub(super) struct RestoreBridge {
    sink: ManuallyDrop<Box<dyn RestoreSink>>,
    guard: Guard,
    capabilities: Capabilities,
    stage: Stage,
}

impl RestoreBridge {
    pub(super) fn new(sink: Box<dyn RestoreSink>, guard: Guard, capabilities: Capabilities) -> Self {
        Self { sink: ManuallyDrop::new(sink), guard, capabilities, stage: Stage::of_stream("restore") }
    }
}

impl ForeignRestore for RestoreBridge {
    fn write(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, RSlice<'_, RestoreRecord<'_>>>,
        reply: &mut ForeignReply<()>,
    ) {
        let records = checked!(reply, check::understood(call, request)).as_slice();
        for (index, record) in records.iter().enumerate() {
            let put =
                Put::new(record.key(), record.value()).expiring_at_ms(record.expires_at_ms().unwrap_or(0));
            checked!(reply, check::put(&self.capabilities, &put).map_err(|error| error.with_index(index)));
        }
        let turn = checked!(reply, self.stage.claim(Ends::No));
        let work = || turn.around(self.sink.write(call, records));
        self.guard.call(reply, GuardedCall::reads(call, "restore write"), work, |()| ())
    }

    fn finish(&self, call: &CallContext<'_>, request: &Request<'_, WriteId>, reply: &mut ForeignReply<u64>) {
        let write_id = checked!(reply, check::understood(call, request));
        let turn = checked!(reply, self.stage.claim(Ends::Yes));
        self.guard.call(
            reply,
            GuardedCall::writes(call, "restore finish"),
            || turn.around(self.sink.finish(call, write_id)),
            |count| count,
        )
    }

    fn abort(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<()>) {
        checked!(reply, check::understood(call, request));
        let turn = checked!(reply, self.stage.claim(Ends::Abandons));
        self.guard.call(
            reply,
            GuardedCall::reads(call, "restore abort"),
            || turn.around(self.sink.abort(call)),
            |()| (),
        )
    }
}

impl Drop for RestoreBridge {
    fn drop(&mut self) {
        // SAFETY: this is the only place that takes the sink, and it is not used again.
        let sink = unsafe { ManuallyDrop::take(&mut self.sink) };
        self.guard.drop_value("the drop of a restore", sink);
    }
}
