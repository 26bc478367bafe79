//! A connection that one call, transaction or stream has to itself.

use std::{pin::pin, sync::Arc, time::Duration};

use deadpool::managed::{Manager, Metrics, Object, RecycleError, RecycleResult};
use keyway_sdk::{CallContext, Error, Result};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};
use tokio_postgres::Row;

use crate::{
    connect::{Connection, Connector, Parameter},
    error::{self, Effect},
    sql::{self, Sql},
};

/// How long a call may wait that says nothing of it.
const USUAL: Duration = Duration::from_secs(30);
/// How long a statement that was cancelled may take to say so; also the part of a call's time that is kept for it.
const GRACE: Duration = Duration::from_secs(1);
/// How long a statement may run after its caller has gone. After that it is cancelled, which costs the
/// connection.
const UNHEARD: Duration = Duration::from_millis(400);

/// Makes the pool's connections.
pub(crate) struct Opener(pub(crate) Arc<Connector>);

impl Manager for Opener {
    type Type = Connection;
    type Error = Error;

    async fn create(&self) -> Result<Connection> {
        self.0.connect().await
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Error> {
        if connection.is_closed() {
            return Err(RecycleError::message("closed"));
        }
        Ok(())
    }
}

/// Until when a call is to be answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    /// When a statement that is under way is cancelled.
    pub(crate) ends: Instant,
    /// How long is waited then for what became of it.
    pub(crate) grace: Duration,
}

impl Deadline {
    pub(crate) fn of(call: &CallContext<'_>) -> Self {
        let left = call.remaining_ms().map_or(USUAL, Duration::from_millis);
        let grace = (left / 10).clamp(Duration::from_millis(20), GRACE);
        Self { ends: Instant::now() + left.saturating_sub(grace), grace }
    }

    /// The same, or earlier if `ends` is earlier.
    pub(crate) fn no_later_than(self, ends: Instant) -> Self {
        Self { ends: self.ends.min(ends), ..self }
    }

    /// The time that is left.
    pub(crate) fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is under way.
    Idle,
    /// A transaction is open.
    InTransaction,
    /// A statement is under way.
    Busy { in_transaction: bool },
    /// It is not used again.
    Spoiled,
}

/// See the module. Dropped while something is under way, it sees to it that this ends, and to the
/// connection's return.
pub(crate) struct Session {
    /// None once it is given back.
    connection: Option<Object<Opener>>,
    state: State,
    runtime: Handle,
}

impl Session {
    /// Takes a connection over. In the backend's runtime.
    pub(crate) fn new(connection: Object<Opener>) -> Self {
        Self { connection: Some(connection), state: State::Idle, runtime: Handle::current() }
    }

    /// Runs a statement, and cancels it when the time is over.
    pub(crate) async fn rows(
        &mut self,
        doing: &'static str,
        effect: Effect,
        deadline: Deadline,
        sql: Sql,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>> {
        self.run(doing, effect, deadline, async |connection| connection.rows(sql, parameters).await).await
    }

    /// Runs what takes no parameters.
    pub(crate) async fn command(
        &mut self,
        doing: &'static str,
        effect: Effect,
        deadline: Deadline,
        sql: &str,
    ) -> Result<()> {
        self.run(doing, effect, deadline, async |connection| connection.client().batch_execute(sql).await)
            .await
    }

    /// Runs a query of an operator's, which is prepared and so one statement; the text in the first column of
    /// its first row.
    pub(crate) async fn query_text(
        &mut self,
        doing: &'static str,
        deadline: Deadline,
        sql: &str,
    ) -> Result<Option<String>> {
        self.run(doing, Effect::None, deadline, async |connection| {
            let row = connection.client().query_one(sql, &[]).await?;
            row.try_get(0)
        })
        .await
    }

    /// Begins a transaction; until it has ended the connection is not given back.
    pub(crate) async fn begin(
        &mut self,
        deadline: Deadline,
        is_serializable: bool,
        read_only: bool,
    ) -> Result<()> {
        self.state = State::InTransaction;
        let schema = self.connection.as_ref().map(|connection| connection.schema().clone());
        let Some(schema) = schema else { return Err(error::closed()) };
        self.command("begin", Effect::None, deadline, &sql::begin(&schema, is_serializable, read_only)).await
    }

    pub(crate) async fn commit(&mut self, deadline: Deadline, effect: Effect) -> Result<()> {
        self.command("commit", effect, deadline, sql::COMMIT).await?;
        self.end();
        Ok(())
    }

    pub(crate) async fn rollback(&mut self, deadline: Deadline) -> Result<()> {
        self.command("rollback", Effect::None, deadline, sql::ROLLBACK).await?;
        self.end();
        Ok(())
    }

    fn end(&mut self) {
        if self.state == State::InTransaction {
            self.state = State::Idle;
        }
    }

    /// The connection is not used again: a query may have left something in its session.
    pub(crate) fn spoil(&mut self) {
        self.state = State::Spoiled;
    }

    /// Whether a call was dropped before it was answered, or the connection lost.
    pub(crate) fn is_usable(&self) -> bool {
        matches!(self.state, State::Idle | State::InTransaction)
    }

    async fn run<T>(
        &mut self,
        doing: &'static str,
        effect: Effect,
        deadline: Deadline,
        work: impl AsyncFnOnce(&Connection) -> std::result::Result<T, tokio_postgres::Error>,
    ) -> Result<T> {
        let Some(connection) = &self.connection else { return Err(error::closed()) };
        self.state = State::Busy { in_transaction: self.state == State::InTransaction };
        let mut under_way = pin!(work(connection));
        let (ended, was_cancelled) = match timeout_at(deadline.ends, &mut under_way).await {
            Ok(ended) => (Some(ended), false),
            Err(_) => {
                connection.canceller().cancel(deadline.grace / 2).await;
                (timeout(deadline.grace / 2, &mut under_way).await.ok(), true)
            }
        };
        let is_fatal = matches!(&ended, Some(Err(source)) if error::is_fatal(source));
        self.state = match self.state {
            _ if was_cancelled || is_fatal => State::Spoiled,
            State::Busy { in_transaction: true } => State::InTransaction,
            _ => State::Idle,
        };
        match ended {
            // A commit that waits for a synchronous standby is not undone when it is cancelled: the server
            // says that it is done, and warns that no standby may have it.
            Some(Ok(_)) if was_cancelled && effect == Effect::Commits => Err(error::too_late(doing, effect)),
            Some(ended) => ended.map_err(|source| error::failed(doing, effect, &source)),
            None => Err(error::too_late(doing, effect)),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match self.state {
            State::Idle => drop(connection),
            State::Spoiled => drop(Object::take(connection)),
            State::InTransaction | State::Busy { in_transaction: true } => {
                self.runtime.spawn(recover(connection, sql::ROLLBACK));
            }
            State::Busy { in_transaction: false } => {
                self.runtime.spawn(recover(connection, ""));
            }
        }
    }
}

/// Waits for the statement under way, ends a transaction that may be open, and gives the connection back. If
/// that takes too long, closes it.
async fn recover(connection: Object<Opener>, end: &'static str) {
    let is_idle = {
        // Sent at once; the server answers it after the statement under way.
        let mut ended = pin!(connection.client().batch_execute(end));
        match timeout(UNHEARD, &mut ended).await {
            Ok(ended) => ended.is_ok(),
            Err(_) => {
                connection.canceller().cancel(GRACE).await;
                let _late = timeout(GRACE, ended).await;
                false
            }
        }
    };
    if !is_idle {
        drop(Object::take(connection));
    }
}
