//! One connection: how it is made, its session settings, and its prepared statements.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use keyway_sdk::{Error, ErrorCode, Result};
use tokio::{
    sync::{OnceCell, Semaphore},
    time::{sleep, timeout},
};
use tokio_postgres::{CancelToken, Row, Statement, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    error,
    login::Login,
    pooler,
    sql::{self, Schema, Sql},
    target::Target,
};

/// Connections that are being made at a time: a server that comes back is not run down.
const AT_A_TIME: usize = 4;
/// After a failed attempt the next one is made no sooner than this, then twice as long, up to the greatest.
const FIRST_WAIT: Duration = Duration::from_millis(25);
const GREATEST_WAIT: Duration = Duration::from_millis(400);
/// The greatest wait after the server has refused the login: servers slow down or lock out clients that try
/// too often.
const GREATEST_WAIT_REFUSED: Duration = Duration::from_secs(5);

/// How long to wait if more are waiting to be let in than the server has places for.
const CROWDED: Duration = Duration::from_millis(10);

/// A parameter of a statement.
pub(crate) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// A connection.
pub(crate) struct Connection {
    client: tokio_postgres::Client,
    schema: Schema,
    statements: [OnceCell<Statement>; Sql::ALL.len()],
    tls: MakeRustlsConnect,
    is_full: Arc<AtomicBool>,
}

impl Connection {
    /// Runs a statement to its very end: one that commits has done so only when the server is ready for the next.
    pub(crate) async fn rows(
        &self,
        sql: Sql,
        parameters: &[Parameter<'_>],
    ) -> std::result::Result<Vec<Row>, tokio_postgres::Error> {
        // The array has a place for each.
        let Some(cell) = self.statements.get(sql as usize) else { return Ok(Vec::new()) };
        let statement = match cell.get() {
            Some(statement) => statement,
            None => {
                let text = sql.text(&self.schema);
                cell.get_or_try_init(|| self.client.prepare(&text)).await?
            }
        };
        let answer = self.client.query(statement, parameters).await;
        if let Err(source) = &answer
            && error::is_disk_full(source)
        {
            self.is_full.store(true, Ordering::Relaxed);
        }
        answer
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(crate) fn client(&self) -> &tokio_postgres::Client {
        &self.client
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Asks the server to cancel the statement of this connection. The request may come too late and hit the
    /// next statement, so a connection is not used again after it.
    pub(crate) fn canceller(&self) -> Canceller {
        Canceller { token: self.client.cancel_token(), tls: self.tls.clone() }
    }
}

/// See [`Connection::canceller`].
pub(crate) struct Canceller {
    token: CancelToken,
    tls: MakeRustlsConnect,
}

impl Canceller {
    pub(crate) async fn cancel(self, within: Duration) {
        match timeout(within, self.token.cancel_query(self.tls)).await {
            Ok(Ok(())) => {}
            Ok(Err(source)) => tracing::debug!(%source, "a statement could not be cancelled"),
            Err(_) => tracing::debug!("the server takes no request to cancel a statement"),
        }
    }
}

/// Makes connections.
pub(crate) struct Connector {
    login: Login,
    schema: Schema,
    settings: String,
    timeout: Duration,
    places: Semaphore,
    failures: Mutex<Option<Failures>>,
    is_full: Arc<AtomicBool>,
}

/// The attempts that have failed since the last that did not.
struct Failures {
    wait: Duration,
    not_before: Instant,
    last: Error,
}

impl Connector {
    pub(crate) fn new(login: Login, schema: Schema, settings: sql::Session, timeout: Duration) -> Self {
        Self {
            login,
            schema,
            settings: sql::session(settings),
            timeout,
            places: Semaphore::new(AT_A_TIME),
            failures: Mutex::new(None),
            is_full: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Whether a write has found the server's disk full, and none has been seen to fit since: small ones may
    /// fit all the while.
    pub(crate) fn is_full(&self) -> &AtomicBool {
        &self.is_full
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Option<Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection; at once the last failure if that was only just now.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        // Never closed.
        let _place = self.places.acquire().await;
        if let Some(failures) = &*self.failures() {
            let left = failures.not_before.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Err(error::not_yet(&failures.last, u64::try_from(left.as_millis()).unwrap_or(0) + 1));
            }
        }
        let made = timeout(self.timeout, self.attempt()).await;
        match made.unwrap_or_else(|_| Err(error::connect_timeout())) {
            Ok(connection) => {
                if self.failures().take().is_some() {
                    tracing::info!("the database answers again");
                }
                Ok(connection)
            }
            Err(error) => {
                self.note(&error);
                Err(error)
            }
        }
    }

    fn note(&self, error: &Error) {
        let mut failures = self.failures();
        let wait = match &*failures {
            None => {
                tracing::warn!(%error, "the database cannot be reached");
                FIRST_WAIT
            }
            Some(failures) if error.code() == ErrorCode::PERMISSION_DENIED => {
                (failures.wait * 2).min(GREATEST_WAIT_REFUSED)
            }
            Some(failures) => (failures.wait * 2).min(GREATEST_WAIT),
        };
        *failures = Some(Failures { wait, not_before: Instant::now() + wait, last: error.clone() });
    }

    /// Refuses a pooler that does not keep a session for each connection.
    pub(crate) async fn check_sessions(&self) -> Result<()> {
        let looked = async {
            let ((one, _), (other, _)) = (self.log_in().await?, self.log_in().await?);
            match pooler::shares_sessions(&one, &other).await {
                Ok(false) => Ok(()),
                Ok(true) => Err(error::shared_sessions()),
                Err(source) => Err(error::unreachable(&source)),
            }
        };
        timeout(self.timeout, looked).await.unwrap_or_else(|_| Err(error::connect_timeout()))
    }

    async fn attempt(&self) -> Result<Connection> {
        let (client, tls) = self.log_in().await?;
        let told = client.simple_query(&self.settings).await.map_err(|source| error::unreachable(&source))?;
        // A standby is stale: it may not have the write that was acknowledged last.
        if sql::first_row(&told).and_then(|row| row.get("in_recovery")) == Some("t") {
            return Err(error::standby());
        }
        let statements = [const { OnceCell::const_new() }; Sql::ALL.len()];
        Ok(Connection {
            client,
            schema: self.schema.clone(),
            statements,
            tls,
            is_full: Arc::clone(&self.is_full),
        })
    }

    /// Logs in; once more if the server refuses the login and the settings have another one by now.
    async fn log_in(&self) -> Result<(tokio_postgres::Client, MakeRustlsConnect)> {
        let target = self.login.present();
        let refused = match log_in_as(&target).await {
            Ok(client) => return Ok((client, target.tls.clone())),
            Err(source) => source,
        };
        // Of several servers only the last one's error is known.
        let may_be_the_login = error::is_refused_login(&refused) || target.config.get_hosts().len() > 1;
        if !may_be_the_login {
            return Err(error::unreachable(&refused));
        }
        match self.login.renewed(&target).await {
            Ok(Some(target)) => match log_in_as(&target).await {
                Ok(client) => Ok((client, target.tls.clone())),
                Err(source) => Err(error::unreachable(&source)),
            },
            Ok(None) => Err(error::unreachable(&refused)),
            Err(why) => Err(error::not_renewed(&refused, &why)),
        }
    }
}

async fn log_in_as(target: &Target) -> std::result::Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, io) = loop {
        // Its future is large, and would make that of every call as large, which may have to connect first.
        match Box::pin(target.config.connect(target.tls.clone())).await {
            // A Unix socket returns this error while the server has not accepted earlier connections.
            Err(source) if is_crowded(&source) => sleep(CROWDED).await,
            connected => break connected?,
        }
    };
    tokio::spawn(async move {
        if let Err(source) = io.await {
            tracing::debug!(reason = error::chain(&source), "a connection was lost");
        }
    });
    Ok(client)
}

fn is_crowded(source: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(source).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::WouldBlock)
}
