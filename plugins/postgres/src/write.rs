//! Single writes, several in one statement: the first call that gets a turn takes the waiting ones with it.
//! They share one transaction and its sync.
//!
//! A key has one write under way at a time. A statement with several writes does not wait for a lock of
//! another session. It then fails as a whole, and each write is done again alone. A write that is alone gives
//! up its turn while it waits.

use std::{sync::Arc, time::Duration};

use keyway_sdk::{OpKind, Outcome, Result};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{sleep, sleep_until, timeout_at},
};

use crate::{
    client::Client,
    error::{self, Effect},
    ops::On,
    queue::{Job, RowKey, TURNS},
    rows::{Applied, Arrays, OwnedOp, failed_condition},
    session::Deadline,
};

/// How long a statement with several writes waits for each lock, in milliseconds. A single write keeps its
/// turn for the same time.
const PATIENCE_MS: u16 = 20;

/// Does a write, among others.
pub(crate) async fn write(client: &Arc<Client>, deadline: Deadline, op: OwnedOp) -> Result<Applied> {
    let writes = client.writes();
    let call = client.enter()?;
    let (done, mut answer) = oneshot::channel();
    let number = {
        let mut waiting = writes.waiting();
        waiting.last += 1;
        let number = waiting.last;
        waiting.jobs.push_back(Job { number, op, deadline, done, _call: call });
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
                // The write is under way, and its answer follows.
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

/// The task that had the write ended with the runtime.
fn lost() -> keyway_sdk::Error {
    error::closed().with_unknown_outcome()
}

async fn run(client: Arc<Client>, jobs: Vec<Job>, turn: OwnedSemaphorePermit) {
    if jobs.len() == 1 {
        let mut turn = Some(turn);
        for job in jobs {
            alone(&client, job, turn.take()).await;
        }
        return;
    }
    let Some(deadline) = jobs.iter().map(|job| job.deadline).max_by_key(|deadline| deadline.ends) else {
        return;
    };
    let (jobs, done) = together(&client, deadline, jobs).await;
    drop(turn);
    let places: Vec<RowKey> = jobs.iter().map(Job::place).collect();
    match done {
        Ok(applied) => {
            client.writes().free(&places);
            for (job, one) in jobs.into_iter().zip(applied) {
                let answer = if one.is_done { Ok(one) } else { Err(failed_condition(job.op.condition)) };
                job.answer(answer);
            }
        }
        Err(error) if error.outcome() == Outcome::NOT_APPLIED => {
            for job in jobs {
                let client = Arc::clone(&client);
                tokio::spawn(async move { alone(&client, job, None).await });
            }
        }
        Err(error) => {
            client.writes().free(&places);
            for job in jobs {
                job.answer(Err(error.clone()));
            }
        }
    }
}

/// Does several writes by the statement for batches. When there is a connection, it leaves out writes whose
/// caller has gone.
async fn together(client: &Client, deadline: Deadline, jobs: Vec<Job>) -> (Vec<Job>, Result<Vec<Applied>>) {
    let mut session = match client.session(deadline).await {
        Ok(session) => session,
        Err(error) => return (jobs, Err(error)),
    };
    let (gone, jobs): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.done.is_closed());
    let gone: Vec<RowKey> = gone.iter().map(Job::place).collect();
    client.writes().free(&gone);
    let arrays = Arrays::of(jobs.iter().map(|job| &job.op), |version| client.number(version));
    let mut on = On { session: &mut session, effect: Effect::Commits, deadline };
    let applied = on.apply_arrays(&arrays, false, i32::from(PATIENCE_MS)).await;
    drop(arrays);
    let applied = applied.and_then(|applied| {
        let is_whole = applied.len() == jobs.len();
        is_whole.then_some(applied).ok_or_else(|| error::unexpected("apply").with_unknown_outcome())
    });
    (jobs, applied)
}

/// One by its own statement.
async fn alone(client: &Client, job: Job, turn: Option<OwnedSemaphorePermit>) {
    let place = job.place();
    by_itself(client, job, turn).await;
    client.writes().free(&[place]);
}

/// See [`alone`]. It gives up its turn after a short wait, and ends when the caller goes away.
async fn by_itself(client: &Client, job: Job, turn: Option<OwnedSemaphorePermit>) {
    let Job { op, deadline, mut done, _call, .. } = job;
    let answer = {
        let work = async {
            let mut session = client.session(deadline).await?;
            let mut on = On { session: &mut session, effect: Effect::Commits, deadline };
            one(&mut on, client, &op).await
        };
        let mut work = std::pin::pin!(work);
        let patience = Duration::from_millis(u64::from(PATIENCE_MS));
        let early = tokio::select! {
            biased;
            answer = &mut work => Some(answer),
            () = done.closed() => return,
            () = sleep(patience) => None,
        };
        drop(turn);
        match early {
            Some(answer) => answer,
            None => tokio::select! {
                biased;
                answer = &mut work => answer,
                () = done.closed() => return,
            },
        }
    };
    let _gone = done.send(answer);
}

async fn one(on: &mut On<'_>, client: &Client, op: &OwnedOp) -> Result<Applied> {
    let number = |version| client.number(version);
    let (version, existed) = match op.kind {
        OpKind::Put => (Some(on.put(op, number).await?), false),
        _ => (None, on.delete(op, number).await?),
    };
    Ok(Applied { is_done: true, version, existed, nth: 0 })
}
