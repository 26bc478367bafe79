//! A store that does not see to what it declares.

use std::mem;

use abi_stable::{
    sabi_trait::TD_Opaque,
    std_types::{ROption, RSlice, RStr, RString, RVec},
};
use keyway_abi::{
    AbiBytes, BackupLevel, BackupObject, Batch, BatchResult, Begin, CallContext, Capabilities, Delete,
    DropKeyspace, Error, ErrorCode, Features, ForeignReply, Health, Isolation, Key, Limits, Op, Page, Put,
    Record, Records, Request, RestoreMode, RestoreObject, Scan, StoreObject, TransactionObject, Version,
    store::Store,
};

use crate::transaction::CommitsTwice;

/// The defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    IgnoresLimits,
    LimitIsOneLess,
    TooLargeLeavesATrace,
    DoesWhatItDoesNotDeclare,
    CursorIsNotChecked,
    WorksAfterShutdown,
    PanicsAcrossTheBoundary,
    TakesAKeyTwice,
    CommitsTwice,
}

impl Defect {
    /// The one that a configuration names.
    pub(crate) fn of(config_json: &str) -> Self {
        const NAMES: [(&str, Defect); 10] = [
            ("none", Defect::None),
            ("ignores_limits", Defect::IgnoresLimits),
            ("limit_is_one_less", Defect::LimitIsOneLess),
            ("too_large_leaves_a_trace", Defect::TooLargeLeavesATrace),
            ("does_what_it_does_not_declare", Defect::DoesWhatItDoesNotDeclare),
            ("cursor_is_not_checked", Defect::CursorIsNotChecked),
            ("works_after_shutdown", Defect::WorksAfterShutdown),
            ("panics_across_the_boundary", Defect::PanicsAcrossTheBoundary),
            ("takes_a_key_twice", Defect::TakesAKeyTwice),
            ("commits_twice", Defect::CommitsTwice),
        ];
        let named = NAMES.iter().find(|(name, _)| config_json.contains(&format!("\"{name}\"")));
        named.map(|(_, defect)| *defect).expect("the configuration names a defect")
    }
}

/// A sound store, and the defect of this one.
pub(crate) struct Beneath {
    pub(crate) inner: StoreObject,
    pub(crate) defect: Defect,
}

/// The code of an answer that is there and an error.
fn code<T>(reply: &ForeignReply<T>) -> Option<ErrorCode> {
    match reply {
        ForeignReply::Failed(error) => Some(error.code()),
        _ => None,
    }
}

impl Store for Beneath {
    fn capabilities(&self) -> Capabilities {
        let sound = self.inner.capabilities();
        match self.defect {
            Defect::IgnoresLimits => Capabilities {
                limits: Limits {
                    key_bytes: 1_000,
                    value_bytes: 1_000_000,
                    batch_ops: 100,
                    batch_bytes: 2_000_000,
                    transaction_ops: 100,
                    transaction_bytes: 2_000_000,
                    transaction_age_ms: 1_000,
                    transactions: 8,
                    ..sound.limits
                },
                ..sound
            },
            Defect::DoesWhatItDoesNotDeclare => Capabilities {
                features: Features::EMPTY,
                backup: BackupLevel::NONE,
                isolation: Isolation::NONE,
                ..sound
            },
            _ => sound,
        }
    }

    fn get(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, Key<'_>>,
        reply: &mut ForeignReply<ROption<Record>>,
    ) {
        assert!(self.defect != Defect::PanicsAcrossTheBoundary, "this panic crosses the boundary");
        self.inner.get(call, request, reply);
    }

    fn get_many(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, RSlice<'_, Key<'_>>>,
        reply: &mut ForeignReply<Records>,
    ) {
        self.inner.get_many(call, request, reply);
    }

    fn put(&self, call: &CallContext<'_>, request: &Request<'_, Put<'_>>, reply: &mut ForeignReply<Version>) {
        let put = request.body();
        let limit = usize::try_from(self.inner.capabilities().limits.key_bytes).unwrap_or(usize::MAX);
        let key = put.key();
        if self.defect == Defect::LimitIsOneLess && key.bytes().len() == limit {
            let error = Error::new(ErrorCode::TOO_LARGE, "the key is as long as the limit");
            return *reply = ForeignReply::Failed(error);
        }
        self.inner.put(call, request, reply);
        if self.defect == Defect::TooLargeLeavesATrace && code(reply) == Some(ErrorCode::TOO_LARGE) {
            let cut = key.bytes().get(..limit).unwrap_or(key.bytes());
            let trace = Put::new(Key::new(key.keyspace(), cut), b"cut off").with_write_id(put.write_id());
            self.inner.put(call, &Request::new(trace), &mut ForeignReply::Unwritten);
        }
    }

    fn delete(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, Delete<'_>>,
        reply: &mut ForeignReply<bool>,
    ) {
        self.inner.delete(call, request, reply);
    }

    fn scan(&self, call: &CallContext<'_>, request: &Request<'_, Scan<'_>>, reply: &mut ForeignReply<Page>) {
        let scan = request.body();
        self.inner.scan(call, request, reply);
        if self.defect == Defect::CursorIsNotChecked && code(reply) == Some(ErrorCode::CURSOR_EXPIRED) {
            self.inner.scan(call, &Request::new(scan.resuming_at(b"")), reply);
        }
    }

    fn apply(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, Batch<'_>>,
        reply: &mut ForeignReply<BatchResult>,
    ) {
        let batch = request.body();
        if self.defect == Defect::TakesAKeyTwice {
            let mut ops: Vec<Op<'_>> = Vec::new();
            for op in batch.ops() {
                ops.retain(|earlier| earlier.key() != op.key());
                ops.push(*op);
            }
            let batch = Batch::new(&ops, batch.mode(), batch.write_id());
            return self.inner.apply(call, &Request::new(batch), reply);
        }
        self.inner.apply(call, request, reply);
    }

    fn begin(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, Begin>,
        reply: &mut ForeignReply<TransactionObject>,
    ) {
        self.inner.begin(call, request, reply);
        if self.defect != Defect::CommitsTwice {
            return;
        }
        if let ForeignReply::Ready(answer) = mem::replace(reply, ForeignReply::Unwritten) {
            let twice = CommitsTwice { inner: answer.into_body() };
            *reply = Ok(TransactionObject::from_value(twice, TD_Opaque)).into();
        }
    }

    fn keyspaces(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, RStr<'_>>,
        reply: &mut ForeignReply<RVec<RString>>,
    ) {
        self.inner.keyspaces(call, request, reply);
    }

    fn drop_keyspace(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, DropKeyspace<'_>>,
        reply: &mut ForeignReply<bool>,
    ) {
        self.inner.drop_keyspace(call, request, reply);
    }

    fn health(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<Health>) {
        self.inner.health(call, request, reply);
    }

    fn backup(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, ()>,
        reply: &mut ForeignReply<BackupObject>,
    ) {
        self.inner.backup(call, request, reply);
    }

    fn restore(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, RestoreMode>,
        reply: &mut ForeignReply<RestoreObject>,
    ) {
        self.inner.restore(call, request, reply);
    }

    fn upgrade(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<u32>) {
        self.inner.upgrade(call, request, reply);
    }

    fn extension(
        &self,
        call: &CallContext<'_>,
        name: RStr<'_>,
        request: &Request<'_, RSlice<'_, u8>>,
        reply: &mut ForeignReply<AbiBytes>,
    ) {
        self.inner.extension(call, name, request, reply);
    }

    fn shutdown(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<()>) {
        if self.defect == Defect::WorksAfterShutdown {
            return *reply = Ok(()).into();
        }
        self.inner.shutdown(call, request, reply);
    }
}
