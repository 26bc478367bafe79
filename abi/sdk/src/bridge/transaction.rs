//! The FFI object around a transaction: one call at a time, and none after its end.

use std::{
    mem::ManuallyDrop,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use abi_stable::std_types::ROption;
use keyway_abi::{
    Begin, CallContext, Capabilities, Committed, Delete, Error, ErrorCode, ForeignReply, Key, Page, Put,
    Record, Request, Scan, WriteId, transaction::Transaction as ForeignTransaction,
};

use super::{
    check::{self, checked},
    guard::{Guard, GuardedCall},
    scanning::Scanning,
    seat::Seat,
    turn::{Ends, Stage},
};
use crate::{Reply, Result, Transaction, cursor::CursorKey};

pub(super) struct TransactionBridge {
    transaction: ManuallyDrop<Box<dyn Transaction>>,
    guard: Guard,
    capabilities: Capabilities,
    cursors: Arc<CursorKey>,
    begin: Begin,
    begun: Instant,
    stage: Stage,
    written_ops: AtomicU64,
    written_bytes: AtomicU64,
}

impl TransactionBridge {
    pub(super) fn new(
        transaction: Box<dyn Transaction>,
        begin: Begin,
        guard: Guard,
        capabilities: Capabilities,
        cursors: Arc<CursorKey>,
        seat: Seat,
    ) -> Self {
        Self {
            transaction: ManuallyDrop::new(transaction),
            guard,
            capabilities,
            cursors,
            begin,
            begun: Instant::now(),
            stage: Stage::of_transaction(seat),
            written_ops: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
        }
    }

    fn in_time(&self) -> Result<()> {
        let limit_ms = self.capabilities.limits.transaction_age_ms;
        if self.begun.elapsed() > Duration::from_millis(limit_ms) {
            let message = format!("the transaction is older than {limit_ms} ms: only rollback is left");
            return Err(Error::new(ErrorCode::RESOURCE_EXHAUSTED, message));
        }
        Ok(())
    }

    fn writable(&self) -> Result<()> {
        if self.begin.read_only {
            return Err(Error::new(ErrorCode::INVALID_ARGUMENT, "the transaction was begun as read-only"));
        }
        Ok(())
    }

    fn account(&self, bytes: usize) -> Result<()> {
        let limits = &self.capabilities.limits;
        let ops = self.written_ops.load(Ordering::Relaxed) + 1;
        let bytes = self.written_bytes.load(Ordering::Relaxed) + bytes as u64;
        if ops > limits.transaction_ops || bytes > limits.transaction_bytes {
            let message = format!(
                "the transaction writes {ops} times and {bytes} bytes, and the limits are {} and {}",
                limits.transaction_ops, limits.transaction_bytes
            );
            return Err(Error::new(ErrorCode::TOO_LARGE, message));
        }
        // The host makes one call of a transaction at a time, so no other call changes the counts in between.
        self.written_ops.store(ops, Ordering::Relaxed);
        self.written_bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn call<T: Send + 'static, U: 'static>(
        &self,
        reply: &mut ForeignReply<U>,
        call: GuardedCall,
        ends: Ends,
        work: impl FnOnce(&dyn Transaction) -> Reply<T>,
        convert: impl FnOnce(T) -> U + Send + 'static,
    ) {
        if ends != Ends::Abandons {
            checked!(reply, self.in_time());
        }
        let turn = checked!(reply, self.stage.claim(ends));
        let work = || turn.around(work(&**self.transaction));
        self.guard.call(reply, call, work, convert)
    }
}

impl Drop for TransactionBridge {
    fn drop(&mut self) {
        // SAFETY: this is the only place that takes the transaction, and it is not used again.
        let transaction = unsafe { ManuallyDrop::take(&mut self.transaction) };
        self.guard.drop_value("the drop of a transaction", transaction);
    }
}

impl ForeignTransaction for TransactionBridge {
    fn get(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, Key<'_>>,
        reply: &mut ForeignReply<ROption<Record>>,
    ) {
        let key = checked!(reply, check::understood(call, request));
        checked!(reply, check::key(&self.capabilities, key));
        self.call(
            reply,
            GuardedCall::reads(call, "transaction get"),
            Ends::No,
            |tx| tx.get(call, key),
            ROption::from,
        )
    }

    fn put(&self, call: &CallContext<'_>, request: &Request<'_, Put<'_>>, reply: &mut ForeignReply<()>) {
        let put = checked!(reply, check::understood(call, request));
        checked!(reply, self.writable());
        checked!(reply, check::put(&self.capabilities, &put));
        checked!(reply, self.account(put.key().bytes().len() + put.value().len()));
        self.call(
            reply,
            GuardedCall::reads(call, "transaction put"),
            Ends::No,
            |tx| tx.put(call, put),
            |()| (),
        )
    }

    fn delete(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, Delete<'_>>,
        reply: &mut ForeignReply<bool>,
    ) {
        let delete = checked!(reply, check::understood(call, request));
        checked!(reply, self.writable());
        checked!(reply, check::delete(&self.capabilities, &delete));
        checked!(reply, self.account(delete.key().bytes().len()));
        self.call(
            reply,
            GuardedCall::reads(call, "transaction delete"),
            Ends::No,
            |tx| tx.delete(call, delete),
            |existed| existed,
        )
    }

    fn scan(&self, call: &CallContext<'_>, request: &Request<'_, Scan<'_>>, reply: &mut ForeignReply<Page>) {
        let scan = checked!(reply, check::understood(call, request));
        checked!(reply, check::scan(&self.capabilities, &scan));
        let (plan, seal) = checked!(reply, Scanning::begin(&scan, &self.cursors));
        self.call(
            reply,
            GuardedCall::reads(call, "transaction scan"),
            Ends::No,
            |tx| tx.scan(call, plan),
            seal,
        )
    }

    fn commit(
        &self,
        call: &CallContext<'_>,
        request: &Request<'_, WriteId>,
        reply: &mut ForeignReply<Committed>,
    ) {
        let write_id = checked!(reply, check::understood(call, request));
        self.call(
            reply,
            GuardedCall::writes(call, "commit"),
            Ends::Yes,
            |tx| tx.commit(call, write_id),
            |committed| committed,
        )
    }

    fn rollback(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<()>) {
        checked!(reply, check::understood(call, request));
        self.call(
            reply,
            GuardedCall::reads(call, "rollback"),
            Ends::Abandons,
            |tx| tx.rollback(call),
            |()| (),
        )
    }
}
