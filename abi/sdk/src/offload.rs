//! Work that blocks, as replies: made into jobs for the threads of a backend, with panics contained.

use std::thread;

use futures_channel::oneshot;
use keyway_abi::{Error, ErrorCode};

use crate::{
    Reply, Result,
    pool::{Job, closed, no_thread},
    state::{BackendState, Panicked, current_request},
};

/// Does `work` on one of the threads. If the reply is dropped before a thread takes the work, it is not done.
pub(crate) fn run<T: Send + 'static>(
    state: &'static BackendState,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Reply<T> {
    let (job, answered) = job(state, work);
    match push(state, job) {
        Ok(()) => answered,
        Err(error) => Reply::ready(Err(error)),
    }
}

/// Does `work`, which no caller waits for. A closed pool drops it.
pub(crate) fn detach(state: &'static BackendState, work: impl FnOnce() + Send + 'static) {
    let request = current_request();
    let job = move || {
        // The panic is in the log, and there is no caller to tell.
        let _contained = state.guard(request, "work on a thread of the backend", work);
    };
    // If it cannot be queued, it is dropped here.
    let _dropped = push(state, Box::new(job));
}

/// Closes the pool, and does `work` on a separate thread after the threads have ended.
pub(crate) fn close_then(
    state: &'static BackendState,
    work: impl FnOnce() -> Result<()> + Send + 'static,
) -> Reply<()> {
    state.pool().close();
    let (job, answered) = job(state, work);
    let closer = thread::Builder::new().name(format!("{}-close", state.name())).spawn(move || {
        state.adopt_thread();
        state.pool().join();
        job();
    });
    match closer {
        Ok(_ends_by_itself) => answered,
        Err(error) => Reply::ready(Err(no_thread(&error))),
    }
}

fn push(state: &'static BackendState, job: Job) -> Result<()> {
    state.pool().push(job, |number| {
        let name = format!("{}-{number}", state.name());
        thread::Builder::new().name(name).spawn(move || {
            state.adopt_thread();
            state.pool().work();
        })
    })
}

/// Work as a job, and the reply with its result.
fn job<T: Send + 'static>(
    state: &'static BackendState,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> (Job, Reply<T>) {
    let (answer, answered) = oneshot::channel();
    let request = current_request();
    let job = move || {
        if answer.is_canceled() {
            return;
        }
        let result = state.guard(request, "work on a thread of the backend", work);
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
