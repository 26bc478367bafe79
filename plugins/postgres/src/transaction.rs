//! Transactions: a connection each, from begin to end.
//!
//! PostgreSQL keeps the snapshot and finds the conflicts. If a transaction reads its own writes, their
//! versions have an incarnation of this transaction alone. The reason: after a crash of the server, the
//! numbers of an uncommitted transaction may be given out again.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use keyway_sdk::{
    Begin, CallContext, Committed, CommittedKey, Delete, Error, ErrorCode, Isolation, Key, Page, Put, Record,
    Reply, Result, Transaction, Version, WriteId, paging::ScanPlan,
};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit},
    task::AbortHandle,
    time::{Instant, sleep},
};

use crate::{
    client::{Client, TRANSACTION_AGE_MS, numbered},
    error::{self, Effect},
    ops::{On, owned},
    rows::OwnedOp,
    session::{Deadline, Session},
};

/// The writes so far: the number of each key's version, none for a deleted key.
type Written = BTreeMap<(Vec<u8>, Vec<u8>), i64>;

pub(crate) struct PostgresTransaction {
    client: Arc<Client>,
    work: Arc<Mutex<Work>>,
    end: AbortHandle,
}

struct Work {
    /// None once the transaction has ended; then `ended` says why.
    session: Option<Session>,
    ended: Ended,
    /// Given back when the transaction ends, even if the caller still holds the transaction.
    place: Option<OwnedSemaphorePermit>,
    /// When it is too old.
    ends: Instant,
    own: u64,
    written: Written,
    /// The numbers of all own writes, also of overwritten ones.
    numbers: HashSet<i64>,
    /// Whether the commit may change something.
    writes: bool,
}

#[derive(Clone, Copy)]
enum Ended {
    TooOld,
    Failed,
    Closed,
}

impl PostgresTransaction {
    pub(crate) async fn begin(client: Arc<Client>, deadline: Deadline, begin: Begin) -> Result<Self> {
        let place = client.stream()?;
        let mut session = client.session(deadline).await?;
        let is_serializable = begin.isolation >= Isolation::SERIALIZABLE;
        session.begin(deadline, is_serializable, begin.read_only).await?;
        let own = getrandom::u64()
            .map_err(|source| Error::new(ErrorCode::INTERNAL, format!("no random bytes: {source}")))?;
        let work = Arc::new(Mutex::new(Work {
            session: Some(session),
            ended: Ended::Failed,
            place: Some(place),
            ends: Instant::now() + Duration::from_millis(TRANSACTION_AGE_MS),
            own,
            written: Written::new(),
            numbers: HashSet::new(),
            writes: false,
        }));
        let end = tokio::spawn(watch(Arc::clone(&work), Arc::clone(&client))).abort_handle();
        Ok(Self { client, work, end })
    }

    fn run<T: Send + 'static, F>(
        &self,
        call: &CallContext<'_>,
        work: impl FnOnce(Arc<Client>, Arc<Mutex<Work>>, Deadline) -> F,
    ) -> Reply<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        match self.client.enter() {
            Err(error) => Reply::ready(Err(error)),
            Ok(entered) => {
                let work = work(Arc::clone(&self.client), Arc::clone(&self.work), Deadline::of(call));
                Reply::pending(async move {
                    let answer = work.await;
                    drop(entered);
                    answer
                })
            }
        }
    }
}

/// Ends the transaction when it is too old, or the backend is being closed: what it has locked is free then.
async fn watch(work: Arc<Mutex<Work>>, client: Arc<Client>) {
    let ended = tokio::select! {
        () = sleep(Duration::from_millis(TRANSACTION_AGE_MS)) => Ended::TooOld,
        () = client.closing() => Ended::Closed,
    };
    drop(client);
    work.lock().await.end(ended);
}

impl Drop for PostgresTransaction {
    fn drop(&mut self) {
        self.end.abort();
        // A call that is under way ends it when it is dropped itself.
        if let Ok(mut work) = self.work.try_lock() {
            work.end(Ended::Failed);
        }
    }
}

impl Work {
    fn end(&mut self, ended: Ended) {
        if let Some(session) = self.session.take() {
            self.ended = ended;
            drop(session);
        }
        self.place = None;
    }

    fn why(&self) -> Error {
        match self.ended {
            Ended::TooOld => error::rolled_back("it was open for too long"),
            Ended::Failed => error::rolled_back("a call of it failed, or was cancelled"),
            Ended::Closed => error::closed(),
        }
    }

    /// The transaction, if it is still open. After any failure of the server's it is not: PostgreSQL has
    /// rolled back.
    fn open(&mut self) -> Result<Open<'_>> {
        if self.session.as_ref().is_some_and(|session| !session.is_usable()) {
            self.end(Ended::Failed);
        }
        let why = self.why();
        let Self { session, numbers, own, ends, .. } = self;
        session.as_mut().map(|session| Open { session, numbers, own: *own, ends: *ends }).ok_or(why)
    }

    /// Notes whether the transaction goes on after an operation's answer.
    fn noted<T>(&mut self, answer: Result<T>) -> Result<T> {
        if let Err(error) = &answer
            && !is_condition(error)
        {
            self.end(Ended::Failed);
        }
        answer
    }
}

/// Whether an operation failed by its condition alone, which ends no transaction.
fn is_condition(error: &Error) -> bool {
    [ErrorCode::ALREADY_EXISTS, ErrorCode::PRECONDITION_FAILED].contains(&error.code())
}

/// A transaction that has not ended.
struct Open<'a> {
    session: &'a mut Session,
    numbers: &'a HashSet<i64>,
    own: u64,
    ends: Instant,
}

impl Open<'_> {
    fn on(&mut self, deadline: Deadline) -> On<'_> {
        // A statement that is under way when the transaction is too old is ended, too.
        On { session: self.session, effect: Effect::None, deadline: deadline.no_later_than(self.ends) }
    }
}

/// The version that the transaction shows for a number.
fn shown(client: &Client, own: u64, numbers: &HashSet<i64>, number: i64) -> Version {
    if numbers.contains(&number) {
        Version::numbered(own, number.cast_unsigned())
    } else {
        client.version(number)
    }
}

/// The number of a version that the transaction has shown.
fn meant(client: &Client, own: u64, version: Version) -> Option<i64> {
    numbered(version, own).or_else(|| client.number(version))
}

impl Transaction for PostgresTransaction {
    fn get(&self, call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        let (keyspace, key) = owned(key);
        self.run(call, |client, work, deadline| async move {
            let work = &mut *work.lock().await;
            let mut open = work.open()?;
            let (own, numbers) = (open.own, open.numbers);
            let version = |number| shown(&client, own, numbers, number);
            let answer = open.on(deadline).get(&keyspace, &key, version).await;
            work.noted(answer)
        })
    }

    fn put(&self, call: &CallContext<'_>, put: Put<'_>) -> Reply<()> {
        let op = OwnedOp::put(&put);
        self.run(call, |client, work, deadline| async move {
            let work = &mut *work.lock().await;
            work.writes = true;
            let mut open = work.open()?;
            let own = open.own;
            let answer = open.on(deadline).put(&op, |version| meant(&client, own, version)).await;
            let number = work.noted(answer)?;
            work.numbers.insert(number);
            work.written.insert((op.keyspace, op.key), number);
            Ok(())
        })
    }

    fn delete(&self, call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let op = OwnedOp::delete(&delete);
        self.run(call, move |client, work, deadline| async move {
            let work = &mut *work.lock().await;
            work.writes = true;
            let mut open = work.open()?;
            let own = open.own;
            let answer = open.on(deadline).delete(&op, |version| meant(&client, own, version)).await;
            let existed = work.noted(answer)?;
            work.written.remove(&(op.keyspace, op.key));
            Ok(existed)
        })
    }

    fn scan(&self, call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        let plan = plan.into_owned();
        self.run(call, |client, work, deadline| async move {
            let work = &mut *work.lock().await;
            let mut open = work.open()?;
            let (own, numbers) = (open.own, open.numbers);
            let answer = open.on(deadline).scan(plan, |number| shown(&client, own, numbers, number)).await;
            work.noted(answer)
        })
    }

    fn commit(&self, call: &CallContext<'_>, _write_id: WriteId) -> Reply<Committed> {
        self.run(call, |client, work, deadline| async move {
            let work = &mut *work.lock().await;
            let effect = if work.writes { Effect::Commits } else { Effect::None };
            let committed = work.open()?.session.commit(deadline, effect).await;
            work.end(Ended::Failed);
            committed?;
            let text = |name: Vec<u8>| {
                String::from_utf8(name).map_err(|_| error::unexpected("commit").with_unknown_outcome())
            };
            std::mem::take(&mut work.written)
                .into_iter()
                .map(|((keyspace, key), number)| {
                    Ok(CommittedKey::new(&text(keyspace)?, key, client.version(number)))
                })
                .collect()
        })
    }

    fn rollback(&self, call: &CallContext<'_>) -> Reply<()> {
        self.run(call, |_client, work, deadline| async move {
            let work = &mut *work.lock().await;
            let undone = match &mut work.session {
                Some(session) if session.is_usable() => session.rollback(deadline).await,
                // The connection's cleanup ends the statement under way; nothing is committed.
                _ => Ok(()),
            };
            work.end(Ended::Failed);
            undone
        })
    }
}
