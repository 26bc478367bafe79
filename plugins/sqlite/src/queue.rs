//! What waits for the writer: bounded in calls and bytes, served in the order of arrival.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use futures_channel::oneshot;
use keyway_sdk::{CallContext, Error, Outcome, Reply, Result};
use rusqlite::Connection;

use crate::{error, failure::Failure, write::Writing};

/// Calls that may wait.
pub(crate) const MAX_CALLS: usize = 1_024;
/// Bytes that may wait; a call that is larger waits alone.
const MAX_BYTES: u64 = 128 * 1024 * 1024;

/// How much work a call is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) ops: usize,
    pub(crate) bytes: u64,
}

/// What waits.
pub(crate) enum Job {
    /// Shares a transaction, and with it a sync, with its neighbours.
    Shared(Box<dyn Call>),
    /// Has the connection for itself.
    Alone(Alone),
}

/// Work with the connection to itself.
pub(crate) type Alone = Box<dyn FnOnce(&mut Connection) + Send>;

/// A call in a transaction that is shared.
pub(crate) trait Call: Send {
    fn size(&self) -> Size;
    /// Whether to run the call. No if its caller has gone, or if its time is over, which it then answers at
    /// once.
    fn is_wanted(&mut self) -> bool;
    /// Does it, perhaps again after a rollback.
    fn run(&mut self, writing: &mut Writing<'_>);
    /// Answers, after the transaction has ended: well, or with a failure.
    fn answer(self: Box<Self>, failure: Option<&Failure>);
}

struct WriteCall<T, F> {
    doing: &'static str,
    size: Size,
    deadline: Option<Instant>,
    work: F,
    result: Option<Result<T>>,
    done: Option<oneshot::Sender<Result<T>>>,
}

impl<T: Send, F: FnMut(&mut Writing<'_>) -> Result<T> + Send> Call for WriteCall<T, F> {
    fn size(&self) -> Size {
        self.size
    }

    fn is_wanted(&mut self) -> bool {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.send(Err(error::too_late()));
        }
        self.done.as_ref().is_some_and(|done| !done.is_canceled())
    }

    fn run(&mut self, writing: &mut Writing<'_>) {
        writing.next_call(self.doing);
        self.result = Some((self.work)(writing));
    }

    fn answer(mut self: Box<Self>, failure: Option<&Failure>) {
        let Some(result) = self.result.take() else {
            if let Some(failure) = failure {
                self.send(Err(failure.error(self.doing)));
            }
            return;
        };
        let result = match (failure, result) {
            (None, result) => result,
            (Some(failure), Ok(_)) => Err(failure.error(self.doing)),
            // It would have changed nothing; but what it was refused for may not have come to be.
            (Some(failure), Err(refused)) if refused.outcome() == Outcome::NOT_APPLIED => {
                let error = failure.error(self.doing);
                Err(Error::new(error.code(), error.message()).with_native_code(error.native_code()))
            }
            (Some(_), Err(error)) => Err(error),
        };
        self.send(result);
    }
}

impl<T, F> WriteCall<T, F> {
    fn send(&mut self, result: Result<T>) {
        if let Some(done) = self.done.take() {
            // A caller that went away meanwhile has its outcome unknown.
            let _gone = done.send(result);
        }
    }
}

/// The callers' end.
#[derive(Clone)]
pub(crate) struct Queue {
    jobs: Sender<Waiting>,
    bytes: Arc<AtomicU64>,
}

/// A job with its share of the bound.
pub(crate) struct Waiting {
    pub(crate) job: Job,
    share: Share,
}

impl Waiting {
    /// The job, which no longer counts as waiting.
    pub(crate) fn into_job(self) -> Job {
        drop(self.share);
        self.job
    }
}

struct Share {
    size: u64,
    bytes: Arc<AtomicU64>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.size, Ordering::AcqRel);
    }
}

impl Queue {
    pub(crate) fn new() -> (Self, Receiver<Waiting>) {
        let (jobs, waiting) = bounded(MAX_CALLS);
        (Self { jobs, bytes: Arc::default() }, waiting)
    }

    /// Runs `work` in a transaction that it may share; answers after the sync. `work` may run again after a
    /// rollback, and changes nothing but through the [`Writing`].
    pub(crate) fn write<T: Send + 'static>(
        &self,
        call: &CallContext<'_>,
        doing: &'static str,
        size: Size,
        work: impl FnMut(&mut Writing<'_>) -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        let (done, result) = oneshot::channel();
        let deadline = call.remaining_ms().map(|remaining| Instant::now() + Duration::from_millis(remaining));
        let call = WriteCall { doing, size, deadline, work, result: None, done: Some(done) };
        match self.send(Job::Shared(Box::new(call)), size.bytes) {
            Ok(()) => Reply::pending(async move { result.await.unwrap_or_else(|_| Err(error::lost())) }),
            Err(error) => Reply::ready(Err(error)),
        }
    }

    /// Runs `work` with the connection to itself. It is skipped if the caller has gone before its turn.
    pub(crate) fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        let (done, result) = oneshot::channel();
        let job = Job::Alone(Box::new(move |connection| {
            if !done.is_canceled() {
                let _gone = done.send(work(connection));
            }
        }));
        match self.send(job, 0) {
            Ok(()) => Reply::pending(async move { result.await.unwrap_or_else(|_| Err(error::lost())) }),
            Err(error) => Reply::ready(Err(error)),
        }
    }

    fn send(&self, job: Job, size: u64) -> Result<()> {
        let before = self.bytes.fetch_add(size, Ordering::AcqRel);
        let share = Share { size, bytes: Arc::clone(&self.bytes) };
        if before > 0 && before + size > MAX_BYTES {
            return Err(error::queue_full(MAX_CALLS, MAX_BYTES));
        }
        self.jobs.try_send(Waiting { job, share }).map_err(|refused| match refused {
            TrySendError::Full(_) => error::queue_full(MAX_CALLS, MAX_BYTES),
            TrySendError::Disconnected(_) => error::closed(),
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;
    use keyway_sdk::ErrorCode;

    use super::*;

    fn waiting(queue: &Queue, bytes: u64) -> Reply<()> {
        queue.write(&CallContext::background(), "test", Size { ops: 1, bytes }, |_| Ok(()))
    }

    fn refusal(reply: Reply<()>) -> ErrorCode {
        block_on(reply.wait()).unwrap_err().code()
    }

    #[test]
    fn queue_is_bounded_in_bytes_but_takes_one_call_however_large() {
        let (queue, jobs) = Queue::new();
        let _first = waiting(&queue, 2 * MAX_BYTES);
        assert_eq!(refusal(waiting(&queue, 1)), ErrorCode::RESOURCE_EXHAUSTED);
        drop(jobs.recv().unwrap().into_job());
        let _second = waiting(&queue, 1);
        assert_eq!(jobs.len(), 1);
    }

    #[test]
    fn queue_is_bounded_in_calls() {
        let (queue, _jobs) = Queue::new();
        let _waiting: Vec<_> = (0..MAX_CALLS).map(|_| waiting(&queue, 1)).collect();
        assert_eq!(refusal(waiting(&queue, 1)), ErrorCode::RESOURCE_EXHAUSTED);
    }

    #[test]
    fn call_whose_time_is_over_is_answered_and_not_run() {
        let (queue, jobs) = Queue::new();
        let call = CallContext::background().with_remaining_ms(0);
        let reply = queue.write(&call, "test", Size { ops: 1, bytes: 1 }, |_| Ok(()));
        let Job::Shared(mut call) = jobs.recv().unwrap().into_job() else { panic!("it is shared") };
        assert!(!call.is_wanted());
        assert_eq!(refusal(reply), ErrorCode::TIMEOUT);
    }
}
