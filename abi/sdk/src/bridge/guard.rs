//! One guard around every call, poll and drop of an author's code. It records which backend the thread works
//! for, enters the backend's runtime, and contains panics.

use std::{
    future::Future,
    mem::ManuallyDrop,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use abi_stable::std_types::RResult;
use async_ffi::FutureExt;
use keyway_abi::{Answer, CallContext, Error, ErrorCode, ForeignReply};

use super::runtime::Runtime;
use crate::{
    Backend, Reply, Result,
    reply::{Answered, BoxFuture},
    state::{BackendState, Panicked},
};

/// Whether a call may change the store, which decides the outcome after a panic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    Writes,
}

/// The guard of one open backend.
#[derive(Clone)]
pub(super) struct Guard {
    state: &'static BackendState,
    runtime: Option<Arc<Runtime>>,
}

impl Guard {
    /// The guard for a backend of type `B`, with its runtime if it wants one.
    pub(super) fn new<B: Backend>(state: &'static BackendState) -> Result<Self> {
        Ok(Self { state, runtime: Runtime::start::<B>(state)?.map(Arc::new) })
    }

    pub(super) fn state(&self) -> &'static BackendState {
        self.state
    }

    /// Calls an operation of the backend, and writes its reply as the interface has it.
    #[inline]
    pub(super) fn call<T: 'static, U: 'static>(
        &self,
        reply: &mut ForeignReply<U>,
        call: GuardedCall,
        work: impl FnOnce() -> Reply<T>,
        convert: impl FnOnce(T) -> U + Send + 'static,
    ) {
        if self.state.is_closed() {
            *reply = ForeignReply::Failed(closed(self.state));
            return;
        }
        self.call_as(reply, call, work, convert);
    }

    #[inline]
    fn call_as<T: 'static, U: 'static>(
        &self,
        reply: &mut ForeignReply<U>,
        place: GuardedCall,
        work: impl FnOnce() -> Reply<T>,
        convert: impl FnOnce(T) -> U + Send + 'static,
    ) {
        // The reply is written inside the guard: no result is moved out of it.
        let written = self.run(place, || match work().0 {
            Answered::Ready(Ok(value)) => *reply = ForeignReply::Ready(Answer::new(convert(value))),
            Answered::Ready(Err(error)) => *reply = ForeignReply::Failed(place.judged(error)),
            Answered::Pending(future) => {
                let pending = Pending {
                    future: ManuallyDrop::new(Some(future)),
                    convert: Some(convert),
                    guard: self.clone(),
                    place,
                };
                *reply = ForeignReply::Pending(pending.into_ffi());
            }
        });
        if let Err(Panicked) = written {
            *reply = ForeignReply::Failed(place.panicked());
        } else if let ForeignReply::Failed(error) = reply {
            self.report(place, error);
        }
    }

    /// Drops something of the author's.
    pub(super) fn drop_value<T>(&self, operation: &'static str, value: T) {
        let place = GuardedCall::writes(&CallContext::background(), operation);
        // The panic has been logged, and there is no call to answer.
        let _contained: std::result::Result<(), Panicked> = self.run(place, || drop(value));
    }

    /// Runs code that a guard is around already, in the backend's runtime.
    #[inline]
    pub(super) fn entered<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.runtime.as_ref().map(|runtime| runtime.enter());
        work()
    }

    /// As [`Guard::call`], also for a backend that is closed after a panic on one of its threads: it is not
    /// shut down yet.
    pub(super) fn call_closed<T: 'static, U: 'static>(
        &self,
        reply: &mut ForeignReply<U>,
        call: GuardedCall,
        work: impl FnOnce() -> Reply<T>,
        convert: impl FnOnce(T) -> U + Send + 'static,
    ) {
        self.call_as(reply, call, work, convert);
    }

    /// A line of the backend's own for each call that fails, with the request that it was for.
    #[cold]
    fn report(&self, place: GuardedCall, error: &Error) {
        let line = || tracing::debug!(operation = place.operation, %error, "a call failed");
        // Logging does not panic; and if it does, the line is lost and nothing else.
        let _lost = self.run(place, line);
    }

    #[inline]
    fn run<T>(&self, place: GuardedCall, work: impl FnOnce() -> T) -> std::result::Result<T, Panicked> {
        self.state.guard(place.request_id, place.operation, || self.entered(work))
    }
}

/// Which call a guard stands around.
#[derive(Clone, Copy)]
pub(super) struct GuardedCall {
    request_id: [u8; 16],
    effect: Effect,
    operation: &'static str,
}

impl GuardedCall {
    /// An error of the backend. A call that only reads has changed nothing, whatever the error leaves open.
    fn judged(self, error: Error) -> Error {
        if self.effect == Effect::Reads { error.not_applied() } else { error }
    }

    /// A call that changes nothing that is visible.
    pub(super) fn reads(call: &CallContext<'_>, operation: &'static str) -> Self {
        Self { request_id: call.request_id(), effect: Effect::Reads, operation }
    }

    /// A call that may change the store.
    pub(super) fn writes(call: &CallContext<'_>, operation: &'static str) -> Self {
        Self { request_id: call.request_id(), effect: Effect::Writes, operation }
    }

    fn panicked(self) -> Error {
        let error = panicked_in(self.operation);
        if self.effect == Effect::Writes { error.with_unknown_outcome() } else { error }
    }
}

/// The caller's error after a panic; the log has the panic's text.
pub(super) fn panicked_in(operation: &str) -> Error {
    Error::new(ErrorCode::PANICKED, format!("the backend panicked in {operation}; its log has the text"))
}

/// A pending operation: polls and drops the author's future inside the guard.
///
/// async-ffi aborts the process when a future's drop panics, so the future is dropped here and nowhere else.
struct Pending<T, C> {
    future: ManuallyDrop<Option<BoxFuture<T>>>,
    convert: Option<C>,
    guard: Guard,
    place: GuardedCall,
}

impl<T, C> Unpin for Pending<T, C> {}

impl<T, U, C: FnOnce(T) -> U> Future for Pending<T, C> {
    type Output = RResult<Answer<U>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (guard, place) = (&this.guard, this.place);
        let Some(future) = this.future.as_mut() else {
            return Poll::Ready(RResult::RErr(Error::new(ErrorCode::INTERNAL, "polled after it was done")));
        };
        let result = match guard.run(place, || future.as_mut().poll(context)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result.map_err(|error| {
                guard.report(place, &error);
                place.judged(error)
            }),
            Err(Panicked) => Err(place.panicked()),
        };
        let dropped = {
            let finished = this.future.take();
            guard.run(place, || drop(finished))
        };
        let result = match dropped {
            Ok(()) => result,
            Err(Panicked) => {
                // The result is the author's too: a backend, a transaction.
                guard.drop_value("the drop of a result", result);
                Err(place.panicked())
            }
        };
        let Some(convert) = this.convert.take() else {
            return Poll::Ready(RResult::RErr(Error::new(ErrorCode::INTERNAL, "polled after it was done")));
        };
        Poll::Ready(result.map(|value| Answer::new(convert(value))).into())
    }
}

impl<T, C> Drop for Pending<T, C> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            // No caller is left to tell of a panic in a cancelled call; the guard has logged it.
            let _contained: std::result::Result<(), Panicked> = self.guard.run(self.place, || drop(future));
        }
    }
}

fn closed(state: &BackendState) -> Error {
    Error::new(ErrorCode::CLOSED, format!("backend {:?} is closed", state.name()))
}
