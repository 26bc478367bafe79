//! The FFI object around a backend.

use std::{
    mem::ManuallyDrop,
    sync::{Arc, atomic::AtomicU64},
};

use abi_stable::{
    sabi_trait::TD_Opaque,
    std_types::{ROption, RSlice, RStr, RString, RVec},
};
use keyway_abi::{
    AbiBytes, BackupLevel, BackupObject, Batch, BatchResult, Begin, CallContext, Capabilities, Delete,
    DropKeyspace, Error, Features, ForeignReply, Health, Key, Page, Put, Record, Records, Request,
    RestoreMode, RestoreObject, Scan, TransactionObject, Version, store::Store,
};

use super::{
    check::{self, checked},
    guard::{Guard, GuardedCall},
    scanning::Scanning,
    seat::Seat,
    streams::{BackupBridge, RestoreBridge},
    transaction::TransactionBridge,
};
use crate::{Backend, Reply, cursor::CursorKey};

pub(super) struct Bridge<B: Backend> {
    backend: ManuallyDrop<Arc<B>>,
    guard: Guard,
    capabilities: Capabilities,
    cursors: Arc<CursorKey>,
    open_transactions: Arc<AtomicU64>,
}

impl<B: Backend> Bridge<B> {
    pub(super) fn new(backend: Arc<B>, guard: Guard, capabilities: Capabilities, cursors: CursorKey) -> Self {
        Self {
            backend: ManuallyDrop::new(backend),
            guard,
            capabilities,
            cursors: Arc::new(cursors),
            open_transactions: Arc::default(),
        }
    }

    fn call<T: 'static, U: 'static>(
        &self,
        reply: &mut ForeignReply<U>,
        call: GuardedCall,
        work: impl FnOnce(&Arc<B>) -> Reply<T>,
        convert: impl FnOnce(T) -> U + Send + 'static,
    ) {
        self.guard.call(reply, call, || work(&self.backend), convert)
    }
}

impl<B: Backend> Drop for Bridge<B> {
    fn drop(&mut self) {
        self.guard.state().close_pools();
        // SAFETY: this is the only place that takes the backend, and it is not used again.
        let backend = unsafe { ManuallyDrop::take(&mut self.backend) };
        self.guard.drop_value("drop", backend);
    }
}

impl<B: Backend> Store for Bridge<B> {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn get(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, Key<'_>>,
        reply: &mut ForeignReply<ROption<Record>>,
    ) {
        let key = checked!(reply, check::understood(call, request));
        checked!(reply, check::key(&self.capabilities, key));
        self.call(reply, GuardedCall::reads(call, "get"), |backend| backend.get(call, key), ROption::from)
    }

    fn get_many(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, RSlice<'_, Key<'_>>>,
        reply: &mut ForeignReply<Records>,
    ) {
        let keys = checked!(reply, check::understood(call, request)).as_slice();
        checked!(reply, check::keys(&self.capabilities, keys));
        self.call(
            reply,
            GuardedCall::reads(call, "get_many"),
            |backend| backend.get_many(call, keys),
            |records| records,
        )
    }

    fn put(&self, call: &CallContext<'_>, request: &Request<'_, Put<'_>>, reply: &mut ForeignReply<Version>) {
        let put = checked!(reply, check::understood(call, request));
        checked!(reply, check::put(&self.capabilities, &put));
        self.call(
            reply,
            GuardedCall::writes(call, "put"),
            |backend| backend.put(call, put),
            |version| version,
        )
    }

    fn delete(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, Delete<'_>>,
        reply: &mut ForeignReply<bool>,
    ) {
        let delete = checked!(reply, check::understood(call, request));
        checked!(reply, check::delete(&self.capabilities, &delete));
        self.call(
            reply,
            GuardedCall::writes(call, "delete"),
            |backend| backend.delete(call, delete),
            |existed| existed,
        )
    }

    fn scan(&self, call: &CallContext<'_>, request: &Request<'_, Scan<'_>>, reply: &mut ForeignReply<Page>) {
        let scan = checked!(reply, check::understood(call, request));
        checked!(reply, check::scan(&self.capabilities, &scan));
        let scanning = Scanning::begin(&scan, &self.cursors);
        let (plan, seal) = checked!(reply, scanning);
        self.call(reply, GuardedCall::reads(call, "scan"), |backend| backend.scan(call, plan), seal)
    }

    fn apply(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, Batch<'_>>,
        reply: &mut ForeignReply<BatchResult>,
    ) {
        let batch = checked!(reply, check::understood(call, request));
        checked!(reply, check::batch(&self.capabilities, &batch));
        self.call(
            reply,
            GuardedCall::writes(call, "apply"),
            |backend| backend.apply(call, batch),
            |results| results,
        )
    }

    fn begin(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, Begin>,
        reply: &mut ForeignReply<TransactionObject>,
    ) {
        let begin = checked!(reply, check::understood(call, request));
        checked!(reply, check::begin(&self.capabilities, &begin));
        let seat =
            checked!(reply, Seat::take(&self.open_transactions, self.capabilities.limits.transactions));
        let (guard, capabilities, cursors) =
            (self.guard.clone(), self.capabilities, Arc::clone(&self.cursors));
        self.call(
            reply,
            GuardedCall::reads(call, "begin"),
            |backend| backend.begin(call, begin),
            move |transaction| {
                let bridge = TransactionBridge::new(transaction, begin, guard, capabilities, cursors, seat);
                TransactionObject::from_value(bridge, TD_Opaque)
            },
        )
    }

    fn keyspaces(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, RStr<'_>>,
        reply: &mut ForeignReply<RVec<RString>>,
    ) {
        let after = checked!(reply, check::understood(call, request)).as_str();
        self.call(
            reply,
            GuardedCall::reads(call, "keyspaces"),
            |backend| backend.keyspaces(call, after),
            |names| names.into_iter().map(RString::from).collect(),
        )
    }

    fn drop_keyspace(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, DropKeyspace<'_>>,
        reply: &mut ForeignReply<bool>,
    ) {
        let drop = checked!(reply, check::understood(call, request));
        checked!(reply, check::keyspace(drop.name()));
        self.call(
            reply,
            GuardedCall::writes(call, "drop_keyspace"),
            |backend| backend.drop_keyspace(call, drop),
            |existed| existed,
        )
    }

    fn health(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<Health>) {
        checked!(reply, check::understood(call, request));
        self.call(reply, GuardedCall::reads(call, "health"), |backend| backend.health(call), |health| health)
    }

    fn backup(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, ()>,
        reply: &mut ForeignReply<BackupObject>,
    ) {
        checked!(reply, check::understood(call, request));
        if self.capabilities.backup == BackupLevel::NONE {
            return *reply = ForeignReply::Failed(Error::unsupported("backup"));
        }
        let guard = self.guard.clone();
        self.call(
            reply,
            GuardedCall::reads(call, "backup"),
            |backend| backend.backup(call),
            move |stream| BackupObject::from_value(BackupBridge::new(stream, guard), TD_Opaque),
        )
    }

    fn restore(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, RestoreMode>,
        reply: &mut ForeignReply<RestoreObject>,
    ) {
        let mode = checked!(reply, check::understood(call, request));
        if !self.capabilities.features.contains(Features::RESTORE) {
            return *reply = ForeignReply::Failed(Error::unsupported("restore"));
        }
        if !mode.is_known() {
            return *reply = ForeignReply::Failed(Error::unsupported("this mode of restore"));
        }
        let (guard, capabilities) = (self.guard.clone(), self.capabilities);
        self.call(
            reply,
            GuardedCall::writes(call, "restore"),
            |backend| backend.restore(call, mode),
            move |sink| RestoreObject::from_value(RestoreBridge::new(sink, guard, capabilities), TD_Opaque),
        )
    }

    fn upgrade(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<u32>) {
        checked!(reply, check::understood(call, request));
        self.call(
            reply,
            GuardedCall::writes(call, "upgrade"),
            |backend| backend.upgrade(call),
            |format| format,
        )
    }

    fn extension(
        &self,
        call: &CallContext<'_>,
        name: RStr<'_>,
        request: &Request<'_, RSlice<'_, u8>>,
        reply: &mut ForeignReply<AbiBytes>,
    ) {
        let body = checked!(reply, check::understood(call, request)).as_slice();
        self.call(
            reply,
            GuardedCall::writes(call, "extension"),
            |backend| backend.extension(call, name.as_str(), body),
            |bytes| bytes,
        )
    }

    fn shutdown(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<()>) {
        checked!(reply, check::understood(call, request));
        let state = self.guard.state();
        if state.is_shut_down() {
            return *reply = Ok(()).into();
        }
        self.guard.call_closed(
            reply,
            GuardedCall::writes(call, "shutdown"),
            || self.backend.shutdown(call),
            move |()| {
                state.set_shut_down();
                state.close_pools();
            },
        )
    }
}
