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
    guard::{Effect, Guard, answer},
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
        call: &CallContext<'_>,
        effect: Effect,
        ends: Ends,
        operation: &'static str,
        work: impl FnOnce(&dyn Transaction) -> Reply<T>,
        convert: impl FnOnce(T) -> U + Send + 'static,
    ) -> ForeignReply<U> {
        if ends != Ends::Abandons {
            checked!(self.in_time());
        }
        let turn = checked!(self.stage.claim(ends));
        let work = || turn.around(work(&**self.transaction));
        self.guard.call(call.request_id(), effect, operation, work, convert)
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
    fn get(&self, call: &CallContext<'_>, request: Request<'_, Key<'_>>) -> ForeignReply<ROption<Record>> {
        let key = checked!(check::understood(call, request));
        checked!(check::key(&self.capabilities, key));
        self.call(call, Effect::Reads, Ends::No, "transaction get", |tx| tx.get(call, key), ROption::from)
    }

    fn put(&self, call: &CallContext<'_>, request: Request<'_, Put<'_>>) -> ForeignReply<()> {
        let put = checked!(check::understood(call, request));
        checked!(self.writable());
        checked!(check::put(&self.capabilities, &put));
        checked!(self.account(put.key().bytes().len() + put.value().len()));
        self.call(call, Effect::Reads, Ends::No, "transaction put", |tx| tx.put(call, put), |()| ())
    }

    fn delete(&self, call: &CallContext<'_>, request: Request<'_, Delete<'_>>) -> ForeignReply<bool> {
        let delete = checked!(check::understood(call, request));
        checked!(self.writable());
        checked!(check::delete(&self.capabilities, &delete));
        checked!(self.account(delete.key().bytes().len()));
        self.call(
            call,
            Effect::Reads,
            Ends::No,
            "transaction delete",
            |tx| tx.delete(call, delete),
            |existed| existed,
        )
    }

    fn scan(&self, call: &CallContext<'_>, request: Request<'_, Scan<'_>>) -> ForeignReply<Page> {
        let scan = checked!(check::understood(call, request));
        checked!(check::scan(&self.capabilities, &scan));
        let (plan, seal) = checked!(Scanning::begin(&scan, &self.cursors));
        self.call(call, Effect::Reads, Ends::No, "transaction scan", |tx| tx.scan(call, plan), seal)
    }

    fn commit(&self, call: &CallContext<'_>, request: Request<'_, WriteId>) -> ForeignReply<Committed> {
        let write_id = checked!(check::understood(call, request));
        self.call(
            call,
            Effect::Writes,
            Ends::Yes,
            "commit",
            |tx| tx.commit(call, write_id),
            |committed| committed,
        )
    }

    fn rollback(&self, call: &CallContext<'_>, request: Request<'_, ()>) -> ForeignReply<()> {
        checked!(check::understood(call, request));
        self.call(call, Effect::Reads, Ends::Abandons, "rollback", |tx| tx.rollback(call), |()| ())
    }
}
