//! Single writes that wait for their turn.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyway_sdk::Result;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    rows::{Applied, OwnedOp},
    session::Deadline,
};

/// Statements with writes under way at a time.
pub(crate) const TURNS: usize = 4;
/// The most writes of a statement, and the most bytes that they hold. A larger write gets its own statement.
const MOST_WRITES: usize = 64;
const MOST_BYTES: usize = 1024 * 1024;

/// Writes that wait for their turn.
pub(crate) struct Writes {
    waiting: Mutex<Waiting>,
    pub(crate) turns: Arc<Semaphore>,
    /// A key is no longer [`Waiting::under_way`].
    pub(crate) freed: Notify,
}

#[derive(Default)]
pub(crate) struct Waiting {
    pub(crate) jobs: VecDeque<Job>,
    /// The keys of writes that are being done.
    under_way: HashSet<RowKey>,
    pub(crate) last: u64,
}

/// A keyspace and a key.
pub(crate) type RowKey = (Vec<u8>, Vec<u8>);

pub(crate) struct Job {
    pub(crate) number: u64,
    pub(crate) op: OwnedOp,
    pub(crate) deadline: Deadline,
    pub(crate) done: oneshot::Sender<Result<Applied>>,
    /// Kept until the write is done, even if its caller has gone; a close waits for it.
    pub(crate) _call: OwnedSemaphorePermit,
}

impl Job {
    pub(crate) fn place(&self) -> RowKey {
        (self.op.keyspace.clone(), self.op.key.clone())
    }

    pub(crate) fn answer(self, answer: Result<Applied>) {
        // The send fails only if the caller has gone.
        let _gone = self.done.send(answer);
    }
}

impl Writes {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::default(), turns: Arc::new(Semaphore::new(TURNS)), freed: Notify::new() }
    }

    pub(crate) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes of those keys may be taken again.
    pub(crate) fn free(&self, places: &[RowKey]) {
        {
            let mut waiting = self.waiting();
            for place in places {
                waiting.under_way.remove(place);
            }
        }
        self.freed.notify_waiters();
    }

    /// Takes the writes that go together, in their order, each key once; they are under way from now on.
    pub(crate) fn take(&self) -> Vec<Job> {
        let mut waiting = self.waiting();
        let Waiting { jobs, under_way, .. } = &mut *waiting;
        let (mut taken, mut left) = (Vec::new(), VecDeque::with_capacity(jobs.len()));
        // If a write stays in the queue, later writes of the same key stay too.
        let (mut stay, mut bytes, mut is_full) = (HashSet::new(), 0, false);
        for job in jobs.drain(..) {
            if job.done.is_closed() {
                // The caller has gone, and the write has not begun.
                continue;
            }
            let place = job.place();
            let size = job.op.key.len() + job.op.value.len();
            is_full =
                is_full || taken.len() == MOST_WRITES || (!taken.is_empty() && bytes + size > MOST_BYTES);
            if is_full || stay.contains(&place) || under_way.contains(&place) {
                stay.insert(place);
                left.push_back(job);
            } else {
                bytes += size;
                under_way.insert(place);
                taken.push(job);
            }
        }
        *jobs = left;
        taken
    }
}
