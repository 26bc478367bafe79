//! Calls and polls of a plugin must not block: while one lasts, its thread serves no other request.
//!
//! Every poll of a future is timed. One above [`SLOW_POLL`] is counted and logged. After [`TOLERATED`] of them,
//! the futures of that opening are polled on a few threads that serve nothing else.
//!
//! The call that starts an operation is timed only by [`Generation::start`](crate::Generation::start): two looks
//! at the clock are a tenth of what a read from memory costs. Such a call cannot be moved to another thread.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
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

/// Slow polls of one opening after which its futures are polled elsewhere.
pub const TOLERATED: u64 = 3;

/// Threads for the futures of all backends whose polls are slow.
const SEPARATE_THREADS: usize = 8;

/// Counts the slow polls of one opening of a backend.
pub(crate) struct Polls {
    backend: String,
    slow: AtomicU64,
}

impl Polls {
    pub(crate) fn new(backend: &str) -> Self {
        Self { backend: backend.to_owned(), slow: AtomicU64::new(0) }
    }

    pub(crate) fn slow(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }
}

/// Watches the polls of one opening's futures.
#[derive(Clone, Copy)]
pub struct PollWatch(&'static Polls);

impl PollWatch {
    pub(crate) fn new(polls: &'static Polls) -> Self {
        Self(polls)
    }

    /// The threads that futures of this opening are to be polled on; none as long as it behaves.
    pub(crate) fn threads(self) -> Option<&'static Runtime> {
        if self.0.slow() < TOLERATED { None } else { SEPARATE.as_ref() }
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
        let slow = self.0.slow.fetch_add(1, Ordering::Relaxed) + 1;
        let (backend, took_ms) = (self.0.backend.as_str(), took.as_millis());
        if slow == TOLERATED {
            tracing::warn!(
                backend,
                took_ms,
                "the plugin's futures block their threads: from now on they are polled on separate threads"
            );
        } else if slow < TOLERATED {
            tracing::warn!(
                backend,
                took_ms,
                "a future of the plugin blocked its thread: it must not wait in a poll"
            );
        }
    }
}

/// A future that is polled on a separate thread. Dropping it cancels it there.
pub(crate) struct Separate<A>(JoinHandle<RResult<A, Error>>);

impl<A: Send + 'static> Separate<A> {
    pub(crate) fn start(
        threads: &Runtime,
        future: impl Future<Output = RResult<A, Error>> + Send + 'static,
    ) -> Self {
        Self(threads.spawn(future))
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
    builder.build().inspect_err(|error| tracing::error!(%error, "start threads for slow polls")).ok()
});
