//! The FFI object around a transaction: one call at a time, and none after its end.

use std::{
    mem::ManuallyDrop,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use abi_stable::std_types::ROption;
use keyway_abi::{
    Begin, CallContext, Capabilities, Committed, Delete, Error, ErrorCode, ForeignReply, Key, Page, Put,
    Record, Request, Scan, transaction::Transaction as ForeignTransaction,
};

use super::{
    check,
    guard::{Effect, Guard, answer},
    store::{Scanning, checked},
};
use crate::{Reply, Result, Transaction, cursor::CursorKey, reply::Answered};

const IDLE: u8 = 0;
const BUSY: u8 = 1;
const CANCELLED: u8 = 2;
const FINISHED: u8 = 3;

pub(super) struct TransactionBridge {
    transaction: ManuallyDrop<Box<dyn Transaction>>,
    guard: Guard,
    capabilities: Capabilities,
    cursors: Arc<CursorKey>,
    begin: Begin,
    begun: Instant,
    stage: Arc<AtomicU8>,
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
    ) -> Self {
        Self {
            transaction: ManuallyDrop::new(transaction),
            guard,
            capabilities,
            cursors,
            begin,
            begun: Instant::now(),
            stage: Arc::new(AtomicU8::new(IDLE)),
            written_ops: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
        }
    }

    /// Takes the transaction for one call, or says why it cannot be had.
    fn claim(&self, end: End) -> Result<Turn> {
        let claimed =
            self.stage.compare_exchange(IDLE, BUSY, Ordering::AcqRel, Ordering::Acquire).or_else(|stage| {
                if end == End::Rollback && stage == CANCELLED {
                    self.stage.compare_exchange(CANCELLED, BUSY, Ordering::AcqRel, Ordering::Acquire)
                } else {
                    Err(stage)
                }
            });
        let after = if end == End::None { IDLE } else { FINISHED };
        match claimed {
            Ok(_) => Ok(Turn { stage: Arc::clone(&self.stage), after: Some(after) }),
            Err(BUSY) => {
                Err(Error::new(ErrorCode::INVALID_ARGUMENT, "a transaction serves one call at a time"))
            }
            Err(CANCELLED) => Err(Error::new(
                ErrorCode::CANCELLED,
                "a call of this transaction was cancelled: only rollback is left",
            )),
            Err(_) => Err(Error::new(ErrorCode::CLOSED, "the transaction is finished")),
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
        let ops = self.written_ops.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if ops > limits.transaction_ops || bytes > limits.transaction_bytes {
            let message = format!(
                "the transaction writes {ops} times and {bytes} bytes, and the limits are {} and {}",
                limits.transaction_ops, limits.transaction_bytes
            );
            return Err(Error::new(ErrorCode::TOO_LARGE, message));
        }
        Ok(())
    }

    fn call<T: Send + 'static, U: 'static>(
        &self,
        call: &CallContext<'_>,
        effect: Effect,
        end: End,
        operation: &'static str,
        work: impl FnOnce(&dyn Transaction) -> Reply<T>,
        convert: impl FnOnce(T) -> U + Send + 'static,
    ) -> ForeignReply<U> {
        if end != End::Rollback {
            checked!(self.in_time());
        }
        let mut turn = checked!(self.claim(end));
        let work = || match work(&**self.transaction).0 {
            Answered::Ready(result) => {
                turn.done();
                Reply::ready(result)
            }
            Answered::Pending(future) => Reply::pending(async move {
                let result = future.await;
                turn.done();
                result
            }),
        };
        self.guard.call(call.request_id(), effect, operation, work, convert)
    }
}

/// Whether a call ends the transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    None,
    Commit,
    Rollback,
}

/// One call's claim on the transaction. Dropped before it is done (cancelled, or panicked), it leaves only rollback.
struct Turn {
    stage: Arc<AtomicU8>,
    after: Option<u8>,
}

impl Turn {
    fn done(&mut self) {
        if let Some(after) = self.after.take() {
            self.stage.store(after, Ordering::Release);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.after.is_some() {
            self.stage.store(CANCELLED, Ordering::Release);
        }
    }
}

impl Drop for TransactionBridge {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "the transaction is moved out to be dropped inside the guard")]
        // SAFETY: this is the only place that takes the transaction, and it is not used again.
        let transaction = unsafe { ManuallyDrop::take(&mut self.transaction) };
        self.guard.drop_value("the drop of a transaction", transaction);
    }
}

impl ForeignTransaction for TransactionBridge {
    fn get(&self, call: &CallContext<'_>, request: Request<'_, Key<'_>>) -> ForeignReply<ROption<Record>> {
        let key = checked!(check::understood(call, request));
        checked!(check::key(&self.capabilities, key));
        self.call(call, Effect::Reads, End::None, "transaction get", |tx| tx.get(call, key), ROption::from)
    }

    fn put(&self, call: &CallContext<'_>, request: Request<'_, Put<'_>>) -> ForeignReply<()> {
        let put = checked!(check::understood(call, request));
        checked!(self.writable());
        checked!(check::put(&self.capabilities, &put));
        checked!(self.account(put.key().bytes().len() + put.value().len()));
        self.call(call, Effect::Reads, End::None, "transaction put", |tx| tx.put(call, put), |()| ())
    }

    fn delete(&self, call: &CallContext<'_>, request: Request<'_, Delete<'_>>) -> ForeignReply<bool> {
        let delete = checked!(check::understood(call, request));
        checked!(self.writable());
        checked!(check::delete(&self.capabilities, &delete));
        checked!(self.account(delete.key().bytes().len()));
        self.call(
            call,
            Effect::Reads,
            End::None,
            "transaction delete",
            |tx| tx.delete(call, delete),
            |existed| existed,
        )
    }

    fn scan(&self, call: &CallContext<'_>, request: Request<'_, Scan<'_>>) -> ForeignReply<Page> {
        let scan = checked!(check::understood(call, request));
        checked!(check::scan(&self.capabilities, &scan));
        let (plan, seal) = checked!(Scanning::begin(&scan, &self.cursors));
        self.call(call, Effect::Reads, End::None, "transaction scan", |tx| tx.scan(call, plan), seal)
    }

    fn commit(&self, call: &CallContext<'_>, request: Request<'_, ()>) -> ForeignReply<Committed> {
        checked!(check::understood(call, request));
        self.call(call, Effect::Writes, End::Commit, "commit", |tx| tx.commit(call), |committed| committed)
    }

    fn rollback(&self, call: &CallContext<'_>, request: Request<'_, ()>) -> ForeignReply<()> {
        checked!(check::understood(call, request));
        self.call(call, Effect::Reads, End::Rollback, "rollback", |tx| tx.rollback(call), |()| ())
    }
}
