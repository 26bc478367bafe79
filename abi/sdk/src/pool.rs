//! Threads of a backend for work that blocks, so that no future has to.

use std::{
    collections::VecDeque,
    io, mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use futures_channel::oneshot;
use keyway_abi::{Error, ErrorCode};

use crate::{
    Reply, Result,
    state::{BackendState, Panicked, current_request},
};

/// Threads, unless the backend says otherwise.
pub(crate) const DEFAULT_THREADS: usize = 8;

/// Most pieces of work that wait for a thread. Further ones are refused.
const MAX_WAITING: usize = 4_096;

type Job = Box<dyn FnOnce() + Send>;

/// The threads of one open backend. They start when there is work for them.
pub(crate) struct Pool {
    queue: Mutex<Queue>,
    wake: Condvar,
}

struct Queue {
    jobs: VecDeque<Job>,
    threads: Vec<JoinHandle<()>>,
    most_threads: usize,
    idle: usize,
    is_closed: bool,
}

impl Pool {
    pub(crate) fn new() -> Self {
        let queue = Queue {
            jobs: VecDeque::new(),
            threads: Vec::new(),
            most_threads: DEFAULT_THREADS,
            idle: 0,
            is_closed: false,
        };
        Self { queue: Mutex::new(queue), wake: Condvar::new() }
    }

    pub(crate) fn set_threads(&self, most_threads: usize) {
        self.lock().most_threads = most_threads.max(1);
    }

    /// Does `work` on one of the threads. If the reply is dropped before a thread takes the work, it is not done.
    pub(crate) fn run<T: Send + 'static>(
        &'static self,
        state: &'static BackendState,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        let (job, answered) = job(state, work);
        match self.push(state, job) {
            Ok(()) => answered,
            Err(error) => Reply::ready(Err(error)),
        }
    }

    /// Does `work`, which no caller waits for. A closed pool drops it.
    pub(crate) fn detach(&'static self, state: &'static BackendState, work: impl FnOnce() + Send + 'static) {
        let request = current_request();
        let job = move || {
            // The panic is in the log, and there is no caller to tell.
            let _contained = state.guard(request, "work on a thread of the backend", work);
        };
        // If it cannot be queued, it is dropped here.
        let _dropped = self.push(state, Box::new(job));
    }

    /// Closes the pool, and does `work` on a separate thread after the threads have ended.
    pub(crate) fn close_then(
        &'static self,
        state: &'static BackendState,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Reply<()> {
        self.close();
        let (job, answered) = job(state, work);
        let closer = thread::Builder::new().name(format!("{}-close", state.name())).spawn(move || {
            state.adopt_thread();
            self.join();
            job();
        });
        match closer {
            Ok(_ends_by_itself) => answered,
            Err(error) => Reply::ready(Err(no_thread(&error))),
        }
    }

    /// Gives up the work that waits, and lets the threads end with what they do now.
    pub(crate) fn close(&self) {
        let given_up = {
            let mut queue = self.lock();
            queue.is_closed = true;
            mem::take(&mut queue.jobs)
        };
        self.wake.notify_all();
        drop(given_up);
    }

    /// Waits until the threads have ended. Not for a thread of the pool.
    fn join(&self) {
        let threads = mem::take(&mut self.lock().threads);
        for thread in threads {
            // What a job panics with is contained within it.
            let _ended = thread.join();
        }
    }

    fn push(&'static self, state: &'static BackendState, job: Job) -> Result<()> {
        let mut queue = self.lock();
        if queue.is_closed {
            return Err(closed());
        }
        if queue.jobs.len() >= MAX_WAITING {
            let message = format!("{MAX_WAITING} calls wait for a thread of the backend");
            return Err(Error::new(ErrorCode::RESOURCE_EXHAUSTED, message));
        }
        if queue.jobs.len() >= queue.idle && queue.threads.len() < queue.most_threads {
            let name = format!("{}-{}", state.name(), queue.threads.len());
            let started = thread::Builder::new().name(name).spawn(move || {
                state.adopt_thread();
                self.work();
            });
            match started {
                Ok(thread) => queue.threads.push(thread),
                Err(error) if queue.threads.is_empty() => {
                    return Err(no_thread(&error));
                }
                // Those that are there do the work.
                Err(_) => {}
            }
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    fn work(&self) {
        loop {
            let mut queue = self.lock();
            let job = loop {
                if let Some(job) = queue.jobs.pop_front() {
                    break job;
                }
                if queue.is_closed {
                    return;
                }
                queue.idle += 1;
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            };
            drop(queue);
            job();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
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

fn no_thread(error: &io::Error) -> Error {
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, format!("the system gives no thread: {error}"))
}

fn closed() -> Error {
    Error::new(ErrorCode::CLOSED, "the backend was closed before the call began")
}

fn panicked() -> Error {
    let message = "the backend panicked in this call; its log has the text";
    Error::new(ErrorCode::PANICKED, message).with_unknown_outcome()
}
