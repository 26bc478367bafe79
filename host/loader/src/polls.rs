//! Calls and polls of a plugin must not block: while one lasts, its thread serves no other request.
//!
//! Every poll of a future is timed. One above [`SLOW_POLL`] is counted and logged. After [`TOLERATED`] of them within
//! [`WINDOW`], the futures of that opening are polled on a few threads that serve nothing else: those of the store, and
//! not those of transactions and streams, which serve one call at a time and must have ended when they are dropped.
//!
//! A busy machine can stop any thread for 5 ms, so one slow poll proves nothing.
//!
//! The call that starts an operation is timed only by [`Generation::start`](crate::Generation::start): two looks
//! at the clock are a tenth of what a read from memory costs. Such a call cannot be moved to another thread.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use abi_stable::std_types::RResult;
use keyway_abi::{Error, ErrorCode};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

/// How long a call or a poll may block its thread before it counts as slow.
pub const SLOW_POLL: Duration = Duration::from_millis(5);

/// Slow polls of one opening, within [`WINDOW`], after which its futures are polled elsewhere.
pub const TOLERATED: usize = 3;

/// The time in which that many slow polls are too many.
pub const WINDOW: Duration = Duration::from_mins(1);

/// Threads for the futures of all backends whose polls are slow.
const SEPARATE_THREADS: usize = 8;

/// Counts the slow polls of one opening of a backend.
pub(crate) struct Polls {
    backend: String,
    slow: AtomicU64,
    /// The times of the last slow polls.
    recent: Mutex<VecDeque<Instant>>,
    is_separate: AtomicBool,
    /// For a test that measures polls: they stay where they are.
    stays: AtomicBool,
}

impl Polls {
    pub(crate) fn new(backend: &str) -> Self {
        Self {
            backend: backend.to_owned(),
            slow: AtomicU64::new(0),
            recent: Mutex::default(),
            is_separate: AtomicBool::new(false),
            stays: AtomicBool::new(false),
        }
    }

    pub(crate) fn slow(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }

    pub(crate) fn stay(&self) {
        self.stays.store(true, Ordering::Relaxed);
    }
}

/// Watches the polls of one opening's futures.
#[derive(Clone, Copy)]
pub struct PollWatch {
    polls: &'static Polls,
    /// Whether futures may be polled elsewhere.
    moves: bool,
}

impl PollWatch {
    pub(crate) fn new(polls: &'static Polls) -> Self {
        Self { polls, moves: true }
    }

    /// For an object that serves one call at a time: when a reply of it is dropped, its call has ended.
    pub(crate) fn of_object(self) -> Self {
        Self { moves: false, ..self }
    }

    /// The threads that futures of this opening are to be polled on; none as long as it behaves.
    pub(crate) fn threads(self) -> Option<&'static Runtime> {
        let moves = self.moves && self.polls.is_separate.load(Ordering::Relaxed);
        if moves && !self.polls.stays.load(Ordering::Relaxed) { SEPARATE.as_ref() } else { None }
    }

    /// Makes a call or a poll, and counts it if it is slow.
    pub(crate) fn timed<T>(self, poll: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = poll();
        let took = begun.elapsed();
        if took > SLOW_POLL {
            self.note(took);
        }
        result
    }

    #[cold]
    fn note(self, took: Duration) {
        let polls = self.polls;
        polls.slow.fetch_add(1, Ordering::Relaxed);
        if polls.is_separate.load(Ordering::Relaxed) {
            return;
        }
        let count = {
            let now = Instant::now();
            let mut recent = polls.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.retain(|time| now.duration_since(*time) < WINDOW);
            recent.push_back(now);
            recent.len()
        };
        let (backend, took_ms) = (polls.backend.as_str(), took.as_millis());
        if count < TOLERATED {
            tracing::warn!(
                backend,
                took_ms,
                "a call or a poll of the plugin blocked a thread of this process: it must not wait there"
            );
        } else {
            polls.is_separate.store(true, Ordering::Relaxed);
            tracing::warn!(
                backend,
                took_ms,
                "the plugin blocks threads of this process: from now on its futures are polled on separate threads"
            );
        }
    }
}

/// A future that is polled on a separate thread. Dropping it cancels it there, soon.
pub(crate) struct Separate<A>(JoinHandle<RResult<A, Error>>);

impl<A: Send + 'static> Separate<A> {
    pub(crate) fn start(
        threads: &Runtime,
        polls: PollWatch,
        mut future: impl Future<Output = RResult<A, Error>> + Send + Unpin + 'static,
    ) -> Self {
        // Timed there too, so that the count goes on.
        Self(threads.spawn(poll_fn(move |context| polls.timed(|| Pin::new(&mut future).poll(context)))))
    }
}

impl<A> Future for Separate<A> {
    type Output = RResult<A, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|result| {
            // The threads end with the process, and the task when this is dropped: it has run to its end.
            result.unwrap_or_else(|_| {
                let error = Error::new(ErrorCode::INTERNAL, "the thread that polled the future has ended");
                RResult::RErr(error.with_unknown_outcome())
            })
        })
    }
}

impl<T> Drop for Separate<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The threads for futures that block; none if the system gives none.
static SEPARATE: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(SEPARATE_THREADS).thread_name("keyway-slow-polls").enable_all();
    // It panics if a thread cannot be started.
    match catch_unwind(AssertUnwindSafe(|| builder.build())) {
        Ok(Ok(runtime)) => Some(runtime),
        Ok(Err(error)) => {
            tracing::error!(%error, "start threads for slow polls");
            None
        }
        Err(_panic) => {
            tracing::error!("the system gives no threads for slow polls");
            None
        }
    }
});
