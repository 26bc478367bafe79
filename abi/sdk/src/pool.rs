//! Threads of a backend for work that blocks, so that no future has to.

use std::{
    collections::VecDeque,
    io, mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use keyway_abi::{Error, ErrorCode};

use crate::Result;

/// Threads, unless the backend says otherwise.
pub(crate) const DEFAULT_THREADS: usize = 8;

/// Most pieces of work that wait for a thread. Further ones are refused.
const MAX_WAITING: usize = 4_096;

pub(crate) type Job = Box<dyn FnOnce() + Send>;

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
    pub(crate) fn new(most_threads: usize) -> Self {
        let queue =
            Queue { jobs: VecDeque::new(), threads: Vec::new(), most_threads, idle: 0, is_closed: false };
        Self { queue: Mutex::new(queue), wake: Condvar::new() }
    }

    pub(crate) fn set_threads(&self, most_threads: usize) {
        self.lock().most_threads = most_threads.max(1);
    }

    /// Lets the threads end with what they do now, and answers the jobs that wait: the caller drops them, and with them
    /// what is the author's.
    #[must_use = "the jobs hold objects of the author's, whose drop may panic"]
    pub(crate) fn close(&self) -> VecDeque<Job> {
        let mut queue = self.lock();
        queue.is_closed = true;
        self.wake.notify_all();
        mem::take(&mut queue.jobs)
    }

    /// Waits until the threads have ended. Not for a thread of the pool.
    pub(crate) fn join(&self) {
        let threads = mem::take(&mut self.lock().threads);
        for thread in threads {
            // What a job panics with is contained within it.
            let _ended = thread.join();
        }
    }

    /// Queues a job. `start` starts a thread that does [`work`](Self::work), if one more is wanted.
    pub(crate) fn push(
        &self,
        job: Job,
        start: impl FnOnce(usize) -> io::Result<JoinHandle<()>>,
    ) -> Result<()> {
        let mut queue = self.lock();
        if queue.is_closed {
            return Err(closed());
        }
        if queue.jobs.len() >= MAX_WAITING {
            let message = format!("{MAX_WAITING} calls wait for a thread of the backend");
            return Err(Error::new(ErrorCode::RESOURCE_EXHAUSTED, message));
        }
        if queue.jobs.len() >= queue.idle && queue.threads.len() < queue.most_threads {
            let started = start(queue.threads.len());
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

    /// Does jobs by `run`, which does not panic, until the pool is closed.
    pub(crate) fn work(&self, run: impl Fn(Job)) {
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
            run(job);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn no_thread(error: &io::Error) -> Error {
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, format!("the system gives no thread: {error}"))
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorCode::CLOSED, "the backend was closed before the call began")
}
