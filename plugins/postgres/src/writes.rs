//! Single writes, several in a statement: whoever waits for a turn is taken along by the first who gets one, and all share a
//! transaction and its sync.
//!
//! A statement that holds the writes of many must not wait for a lock that somebody has: then none of them is done, and each is done
//! again by itself. Until then other writes of that key stay where they are.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyway_sdk::{OpKind, Outcome, Result};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    time::{sleep_until, timeout_at},
};

use crate::{
    client::Client,
    error::{self, Effect},
    ops::On,
    rows::{Applied, OwnedOp, failed_condition},
    session::Deadline,
};

/// Statements with writes under way at a time.
const TURNS: usize = 4;
/// Most writes of a statement, and most bytes that they hold; a larger one goes by itself.
const MOST_WRITES: usize = 64;
const MOST_BYTES: usize = 1024 * 1024;
/// How long a statement with the writes of many waits for a lock, in milliseconds.
const PATIENCE_MS: i32 = 20;

/// Writes that wait for their turn.
pub(crate) struct Writes {
    waiting: Mutex<Waiting>,
    turns: Arc<Semaphore>,
    /// A key is no longer [`Waiting::alone`].
    freed: Notify,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// The keys whose writes are being done by themselves.
    alone: HashSet<(Vec<u8>, Vec<u8>)>,
    last: u64,
}

struct Job {
    number: u64,
    op: OwnedOp,
    deadline: Deadline,
    done: oneshot::Sender<Result<Applied>>,
}

impl Job {
    fn place(&self) -> (Vec<u8>, Vec<u8>) {
        (self.op.keyspace.clone(), self.op.key.clone())
    }
}

impl Writes {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::default(), turns: Arc::new(Semaphore::new(TURNS)), freed: Notify::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that go together, in their order, each key once.
    fn take(&self) -> Vec<Job> {
        let mut waiting = self.waiting();
        let Waiting { jobs, alone, .. } = &mut *waiting;
        let (mut taken, mut left) = (Vec::new(), VecDeque::with_capacity(jobs.len()));
        let (mut places, mut bytes, mut is_full) = (HashSet::new(), 0, false);
        for job in jobs.drain(..) {
            if job.done.is_closed() {
                // Nobody waits for it any more, and it has not begun.
                continue;
            }
            let place = job.place();
            let size = job.op.key.len() + job.op.value.len();
            is_full =
                is_full || taken.len() == MOST_WRITES || (!taken.is_empty() && bytes + size > MOST_BYTES);
            // Behind one of the same key that stays, the next must stay as well.
            if is_full || alone.contains(&place) || !places.insert(place) {
                left.push_back(job);
            } else {
                bytes += size;
                taken.push(job);
            }
        }
        *jobs = left;
        taken
    }
}

/// Does a write, among others.
pub(crate) async fn write(client: &Arc<Client>, deadline: Deadline, op: OwnedOp) -> Result<Applied> {
    let writes = client.writes();
    let (done, mut answer) = oneshot::channel();
    let number = {
        let mut waiting = writes.waiting();
        waiting.last += 1;
        let number = waiting.last;
        waiting.jobs.push_back(Job { number, op, deadline, done });
        number
    };
    let led = async {
        loop {
            let freed = writes.freed.notified();
            // Never closed.
            let Ok(turn) = Arc::clone(&writes.turns).acquire_owned().await else { return };
            let jobs = writes.take();
            if jobs.is_empty() {
                drop(turn);
                freed.await;
            } else {
                tokio::spawn(run(Arc::clone(client), jobs, turn));
            }
            if !writes.waiting().jobs.iter().any(|job| job.number == number) {
                // Taken: what is left is the answer.
                return;
            }
        }
    };
    tokio::select! {
        biased;
        answered = &mut answer => return answered.unwrap_or_else(|_| Err(lost())),
        () = led => {}
        () = sleep_until(deadline.ends) => {
            let mut waiting = writes.waiting();
            let before = waiting.jobs.len();
            waiting.jobs.retain(|job| job.number != number);
            if waiting.jobs.len() < before {
                return Err(error::no_turn(TURNS));
            }
        }
    }
    match timeout_at(deadline.ends + deadline.grace, answer).await {
        Ok(answered) => answered.unwrap_or_else(|_| Err(lost())),
        Err(_) => Err(error::too_late("write", Effect::Commits)),
    }
}

/// Whoever had it is gone with the runtime.
fn lost() -> keyway_sdk::Error {
    error::closed().with_unknown_outcome()
}

async fn run(client: Arc<Client>, jobs: Vec<Job>, turn: OwnedSemaphorePermit) {
    let Some(deadline) = jobs.iter().map(|job| job.deadline).max_by_key(|deadline| deadline.ends) else {
        return;
    };
    let (mut senders, mut ops, mut deadlines) = (Vec::new(), Vec::new(), Vec::new());
    for job in jobs {
        senders.push(job.done);
        ops.push(job.op);
        deadlines.push(job.deadline);
    }
    let done = together(&client, deadline, &ops).await;
    match done {
        Ok(applied) => {
            drop(turn);
            for (sender, (op, one)) in senders.into_iter().zip(ops.iter().zip(applied)) {
                let answer = if one.is_done { Ok(one) } else { Err(failed_condition(op.condition)) };
                // Whoever went away hears nothing of it.
                let _gone = sender.send(answer);
            }
        }
        Err(error) if error.outcome() == Outcome::NOT_APPLIED && ops.len() > 1 => {
            client
                .writes()
                .waiting()
                .alone
                .extend(ops.iter().map(|op| (op.keyspace.clone(), op.key.clone())));
            drop(turn);
            for ((sender, op), deadline) in senders.into_iter().zip(ops).zip(deadlines) {
                tokio::spawn(alone(Arc::clone(&client), deadline, op, sender));
            }
        }
        Err(error) => {
            drop(turn);
            for sender in senders {
                let _gone = sender.send(Err(error.clone()));
            }
        }
    }
}

/// One by its own statement, several by that for batches.
async fn together(client: &Client, deadline: Deadline, ops: &[OwnedOp]) -> Result<Vec<Applied>> {
    let mut session = client.session(deadline).await?;
    let mut on = On { session: &mut session, effect: Effect::Commits, deadline };
    match ops {
        [op] => Ok(vec![one(&mut on, client, op).await?]),
        _ => {
            let applied = on.apply(ops, false, PATIENCE_MS, |version| client.number(version)).await?;
            if applied.len() == ops.len() {
                Ok(applied)
            } else {
                Err(error::unexpected("apply").with_unknown_outcome())
            }
        }
    }
}

async fn one(on: &mut On<'_>, client: &Client, op: &OwnedOp) -> Result<Applied> {
    let number = |version| client.number(version);
    let (version, existed) = match op.kind {
        OpKind::Put => (Some(on.put(op, number).await?), false),
        _ => (None, on.delete(&op.keyspace, &op.key, op.condition, number).await?),
    };
    Ok(Applied { is_done: true, version, existed, nth: 0 })
}

/// One that has to wait for a lock, or is refused.
async fn alone(client: Arc<Client>, deadline: Deadline, op: OwnedOp, done: oneshot::Sender<Result<Applied>>) {
    let answer = match client.session(deadline).await {
        Ok(mut session) => {
            let mut on = On { session: &mut session, effect: Effect::Commits, deadline };
            one(&mut on, &client, &op).await
        }
        Err(error) => Err(error),
    };
    client.writes().waiting().alone.remove(&(op.keyspace, op.key));
    client.writes().freed.notify_waiters();
    let _gone = done.send(answer);
}
