//! Work that blocks, as replies: made into jobs for the threads of a backend, with panics contained.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use futures_channel::oneshot;
use keyway_abi::{Error, ErrorCode};

use crate::{
    Reply, Result,
    pool::{Job, Pool, closed, no_thread},
    state::{BackendState, Panicked, current_request},
};

/// What guards say of work on these threads.
const OPERATION: &str = "work on a thread of the backend";

/// Which threads do the work.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Threads {
    /// Those for calls of the store.
    OfCalls,
    /// Those for calls of transactions and streams.
    OfObjects,
}

impl Threads {
    fn pool(self, state: &'static BackendState) -> &'static Pool {
        match self {
            Self::OfCalls => state.pool(),
            Self::OfObjects => state.object_pool(),
        }
    }
}

/// Does `work` on one of the threads. If the reply is dropped before a thread takes the work, it is not done.
pub(crate) fn run<T: Send + 'static>(
    state: &'static BackendState,
    threads: Threads,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Reply<T> {
    let waiting = Arc::new(Mutex::new(Some(work)));
    let given_up = GivenUp(Arc::clone(&waiting));
    let work = move || {
        let work = waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        // If the caller has gone, there is no one to hear the error.
        work.map_or_else(|| Err(closed()), |work| work())
    };
    let (job, answered) = job(state, work);
    match push(state, threads, job) {
        Ok(()) => Reply::pending(async move {
            let result = answered.wait().await;
            drop(given_up);
            result
        }),
        Err(error) => Reply::ready(Err(error)),
    }
}

/// Does `work`, which no caller waits for. A closed pool drops it.
pub(crate) fn detach(state: &'static BackendState, work: impl FnOnce() + Send + 'static) {
    let request = current_request();
    let job: Job = Box::new(move || {
        // The panic is in the log, and there is no caller to tell.
        let _contained = state.guard(request, OPERATION, work);
    });
    // If it cannot be queued, it is dropped here, which may block.
    let _dropped = push(state, Threads::OfObjects, job);
}

/// Closes the pools, and does `work` on a separate thread after the threads have ended. It is done even if the reply is
/// dropped.
pub(crate) fn close_then(
    state: &'static BackendState,
    work: impl FnOnce() -> Result<()> + Send + 'static,
) -> Reply<()> {
    state.close_pools();
    let (job, answered) = job(state, work);
    let closer = thread::Builder::new().name(format!("{}-close", state.name())).spawn(move || {
        state.adopt_thread();
        let _one_at_a_time = state.closing.lock().unwrap_or_else(PoisonError::into_inner);
        state.pool().join();
        state.object_pool().join();
        job();
    });
    match closer {
        Ok(_ends_by_itself) => answered,
        Err(error) => Reply::ready(Err(no_thread(&error))),
    }
}

fn push(state: &'static BackendState, threads: Threads, job: Job) -> Result<()> {
    let pool = threads.pool(state);
    pool.push(job, |number| {
        let name = format!("{}-{number}", state.name());
        thread::Builder::new().name(name).spawn(move || {
            state.adopt_thread();
            pool.work(|job| {
                // What a job holds of the author's may panic when it is dropped: the thread goes on.
                let _contained = state.guard([0; 16], OPERATION, job);
            });
        })
    })
}

/// Drops work that no thread has taken, when its reply is dropped.
struct GivenUp<W>(Arc<Mutex<Option<W>>>);

impl<W> Drop for GivenUp<W> {
    fn drop(&mut self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Work as a job, and the reply with its result.
fn job<T: Send + 'static>(
    state: &'static BackendState,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> (Job, Reply<T>) {
    let (answer, answered) = oneshot::channel();
    let request = current_request();
    let job = move || {
        let result = state.guard(request, OPERATION, work);
        let result = result.unwrap_or_else(|Panicked| Err(panicked()));
        // The caller may have given up meanwhile; the effect is whole all the same.
        let _unheard = answer.send(result);
    };
    // Dropped without an answer only if the pool was closed first.
    (Box::new(job), Reply::pending(async move { answered.await.unwrap_or_else(|_| Err(closed())) }))
}

fn panicked() -> Error {
    let message = "the backend panicked in this call; its log has the text";
    Error::new(ErrorCode::PANICKED, message).with_unknown_outcome()
}
