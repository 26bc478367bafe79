//! An open database: its connections, from the opening to the close.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{Pool, PoolError, Timeouts};
use keyway_sdk::{Durability, Error, ErrorCode, OpenContext, Result, Version};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{timeout, timeout_at},
};
use tokio_postgres::Row;

use crate::{
    config::Config,
    connect::{Connector, Parameter},
    error::{self, Effect},
    lanes::Lanes,
    login::Login,
    queue::Writes,
    session::{Deadline, Opener, Session},
    sql::{self, Found, Schema, Sql},
    target::Source,
};

/// Connections that point reads share.
const LANES: usize = 4;
/// Batches and pages at a time. With more of them, the server's processes wait for each other more than they
/// work; waiting here instead costs little.
const AT_A_TIME: usize = 16;
/// How long a transaction may stay open, in milliseconds.
pub(crate) const TRANSACTION_AGE_MS: u64 = 10_000;
/// How much longer the server waits for the next statement of a transaction, if the host is no longer there
/// to end it.
const IDLE_BEYOND_MS: u64 = 50_000;
/// Calls at a time; beyond them the host has long refused more.
const MOST_CALLS: u32 = 1 << 20;

/// An open database.
pub(crate) struct Client {
    context: OpenContext,
    connector: Arc<Connector>,
    pool: Pool<Opener>,
    lanes: Lanes,
    /// Places of transactions, backups and restores under way: half of the connections stay for writes.
    streams: Arc<Semaphore>,
    most_streams: usize,
    /// Turns of single statements.
    turns: Arc<Semaphore>,
    writes: Writes,
    calls: Arc<Semaphore>,
    is_closing: AtomicBool,
    closing: Notify,
    upkeep: Arc<Notify>,
    incarnation: u64,
    durability: Durability,
    pub(crate) allows_queries: bool,
}

impl Client {
    /// Opens the database, and makes the schema if it is missing.
    pub(crate) async fn open(config: Config, context: OpenContext) -> Result<Arc<Self>> {
        let schema = Schema::new(&config.schema).ok_or_else(|| {
            error::settings("schema is a name of lower-case letters, digits and underscores, at most 63")
        })?;
        let login = Login::new(Source::new(config.clone(), &context))?;
        let session = sql::Session {
            statement_timeout_ms: config.statement_timeout_ms,
            idle_in_transaction_ms: TRANSACTION_AGE_MS + IDLE_BEYOND_MS,
        };
        let within = Duration::from_millis(config.connect_timeout_ms);
        let connector = Arc::new(Connector::new(login, schema, session, within));
        let (incarnation, durability) = prepare(&connector, within).await?;
        let alone = (config.connections as usize).saturating_sub(LANES).max(2);
        let pool = Pool::builder(Opener(Arc::clone(&connector)))
            .max_size(alone)
            .runtime(deadpool::Runtime::Tokio1)
            .build()
            .map_err(|source| error::settings(source.to_string()))?;
        let most_streams = alone / 2;
        let client = Arc::new(Self {
            context,
            connector,
            pool,
            lanes: Lanes::new(LANES),
            streams: Arc::new(Semaphore::new(most_streams)),
            most_streams,
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            writes: Writes::new(),
            calls: Arc::new(Semaphore::new(MOST_CALLS as usize)),
            is_closing: AtomicBool::new(false),
            closing: Notify::new(),
            upkeep: Arc::new(Notify::new()),
            incarnation,
            durability,
            allows_queries: config.allow_queries,
        });
        tracing::info!(
            schema = client.connector.schema().name(),
            connections = config.connections,
            "database open"
        );
        Ok(client)
    }

    /// Brings the schema to the newest data format, on a new connection; answers which one it has.
    pub(crate) async fn upgrade(&self, deadline: Deadline) -> Result<u32> {
        let connection = self.connector.connect().await?;
        // Dropped, the connection takes the transaction with it.
        let migrated = timeout(deadline.left(), sql::migrate(connection.client(), self.connector.schema()));
        let format = match migrated.await {
            Ok(format) => format.map_err(|source| error::failed("upgrade", Effect::Commits, &source))?,
            Err(_) => return Err(error::too_late("upgrade", Effect::Commits)),
        };
        u32::try_from(format).map_err(|_| error::unexpected("upgrade"))
    }

    pub(crate) fn context(&self) -> &OpenContext {
        &self.context
    }

    /// Single writes that wait for their turn.
    pub(crate) fn writes(&self) -> &Writes {
        &self.writes
    }

    /// What an acknowledged write survives, as the server is set.
    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    /// Transactions, backups and restores at a time.
    pub(crate) fn most_streams(&self) -> usize {
        self.most_streams
    }

    /// The version of that number.
    pub(crate) fn version(&self, number: i64) -> Version {
        Version::numbered(self.incarnation, number.cast_unsigned())
    }

    /// The number of a version; none if it is another store's.
    pub(crate) fn number(&self, version: Version) -> Option<i64> {
        numbered(version, self.incarnation)
    }

    /// Lets a call in, unless the backend is being closed, which waits for it.
    pub(crate) fn enter(&self) -> Result<OwnedSemaphorePermit> {
        if self.is_closing.load(Ordering::Acquire) {
            return Err(error::closed());
        }
        Arc::clone(&self.calls).try_acquire_owned().map_err(|_| error::closed())
    }

    /// A connection for this call alone.
    pub(crate) async fn session(&self, deadline: Deadline) -> Result<Session> {
        let waits = Timeouts { wait: Some(deadline.left()), create: Some(deadline.left()), recycle: None };
        match self.pool.timeout_get(&waits).await {
            Ok(connection) => Ok(Session::new(connection)),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Closed) => Err(error::closed()),
            Err(PoolError::Timeout(deadpool::managed::TimeoutType::Wait)) => {
                Err(error::no_connection_free(self.pool.status().max_size))
            }
            Err(_) => Err(error::connect_timeout()),
        }
    }

    /// A connection for one statement or two, in turn.
    pub(crate) async fn turn(&self, deadline: Deadline) -> Result<Turn> {
        let turn = match timeout_at(deadline.ends, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => return Err(error::closed()),
            Err(_) => return Err(error::no_turn(AT_A_TIME)),
        };
        Ok(Turn { session: self.session(deadline).await?, _turn: turn })
    }

    /// A place for a transaction or stream, if there is one.
    pub(crate) fn stream(&self) -> Result<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.streams).try_acquire_owned();
        place.map_err(|_| error::too_many_streams(self.most_streams))
    }

    /// A point read among others. A connection that turns out to be lost is not its last chance.
    pub(crate) async fn read(
        &self,
        doing: &'static str,
        deadline: Deadline,
        sql: Sql,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>> {
        let mut is_second = false;
        loop {
            let turn = match timeout_at(deadline.ends, self.lanes.enter(&self.connector)).await {
                Ok(turn) => turn?,
                Err(_) => return Err(error::connect_timeout()),
            };
            // A turn has one.
            let Some(connection) = turn.connection() else { return Err(error::closed()) };
            match timeout_at(deadline.ends, connection.rows(sql, parameters)).await {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(source)) => {
                    if error::is_fatal(&source) {
                        turn.give_up();
                    }
                    if is_second || !(source.is_closed() || connection.is_closed()) {
                        return Err(error::failed(doing, Effect::None, &source));
                    }
                    is_second = true;
                }
                Err(_) => {
                    turn.give_up();
                    return Err(error::too_late(doing, Effect::None));
                }
            }
        }
    }

    /// Runs one statement that commits, on a connection that no other call uses meanwhile.
    pub(crate) async fn write(
        &self,
        doing: &'static str,
        deadline: Deadline,
        sql: Sql,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>> {
        self.turn(deadline).await?.session.rows(doing, Effect::Commits, deadline, sql, parameters).await
    }

    /// Runs one statement that reads, on a connection that no other call uses meanwhile; once more if that
    /// connection was lost.
    pub(crate) async fn read_alone(
        &self,
        doing: &'static str,
        deadline: Deadline,
        sql: Sql,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>> {
        let Turn { mut session, _turn } = self.turn(deadline).await?;
        match session.rows(doing, Effect::None, deadline, sql, parameters).await {
            Err(error) if error.code() == ErrorCode::UNAVAILABLE && !session.is_usable() => {
                // Its place first: others wait for one, too.
                drop(session);
                self.session(deadline).await?.rows(doing, Effect::None, deadline, sql, parameters).await
            }
            answer => answer,
        }
    }

    /// Whether a write has found the server's disk full.
    pub(crate) fn is_full(&self) -> &AtomicBool {
        self.connector.is_full()
    }

    /// Notified when there is something to be removed.
    pub(crate) fn upkeep(&self) -> Arc<Notify> {
        Arc::clone(&self.upkeep)
    }

    /// There is something to be removed.
    pub(crate) fn want_upkeep(&self) {
        self.upkeep.notify_one();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Resolves when the backend is being closed.
    pub(crate) async fn closing(&self) {
        let notified = self.closing.notified();
        let mut notified = std::pin::pin!(notified);
        notified.as_mut().enable();
        if !self.is_closing() {
            notified.await;
        }
    }

    /// Waits for the calls in flight, and closes the connections.
    pub(crate) async fn close(&self, deadline: Deadline) -> Result<()> {
        self.is_closing.store(true, Ordering::Release);
        self.closing.notify_waiters();
        self.upkeep.notify_one();
        let finished = timeout_at(deadline.ends, self.calls.acquire_many(MOST_CALLS)).await;
        self.pool.close();
        self.lanes.close();
        match finished {
            Ok(_all) => Ok(()),
            Err(_) => Err(Error::new(
                ErrorCode::TIMEOUT,
                "calls were still in flight when the time to close was over",
            )),
        }
    }

    /// Tells the host how many connections there are.
    pub(crate) fn measure(&self) {
        let status = self.pool.status();
        self.context.gauge("connections", (status.size + self.lanes.open()) as f64);
        self.context.gauge("connections_in_use", status.size.saturating_sub(status.available) as f64);
    }
}

/// See [`Client::turn`]. The connection is dropped before the turn, so that the next caller finds it.
pub(crate) struct Turn {
    pub(crate) session: Session,
    _turn: OwnedSemaphorePermit,
}

/// The number in a version of that incarnation.
pub(crate) fn numbered(version: Version, incarnation: u64) -> Option<i64> {
    let (own, number) = version.as_bytes().split_first_chunk::<8>()?;
    let number: [u8; 8] = number.try_into().ok()?;
    (u64::from_be_bytes(*own) == incarnation).then(|| i64::from_be_bytes(number))
}

/// Makes sure that the schema is there and that it can be read, and answers its incarnation and what a commit
/// survives.
async fn prepare(connector: &Connector, within: Duration) -> Result<(u64, Durability)> {
    connector.check_sessions().await?;
    let connection = connector.connect().await?;
    let (client, schema) = (connection.client(), connector.schema());
    let looked = async {
        match sql::look(client, schema).await? {
            Found::Nothing => sql::create(client, schema).await,
            found => Ok(found),
        }
    };
    let found = match timeout(within, looked).await {
        Ok(found) => found.map_err(|source| cannot_prepare(schema, &source))?,
        Err(_) => return Err(error::too_late("look at the schema", Effect::None)),
    };
    match found {
        Found::Ours { data_format, .. } if data_format > i64::from(sql::DATA_FORMAT) => {
            Err(error::settings(format!(
                "the schema {} has data format {data_format}, and this version of the plugin reads up to {}: use a newer one",
                schema.name(),
                sql::DATA_FORMAT
            )))
        }
        Found::Ours { incarnation, is_durable, .. } => {
            if !is_durable {
                tracing::warn!(
                    "the server runs with fsync or full_page_writes off: what is acknowledged survives no loss of power"
                );
            }
            let durability = if is_durable { Durability::POWER_LOSS } else { Durability::PROCESS_CRASH };
            Ok((incarnation.cast_unsigned(), durability))
        }
        Found::Foreign | Found::Nothing => Err(error::settings(format!(
            "the schema {} is not empty, and not Keyway's: name another one with `schema`",
            schema.name()
        ))),
    }
}

fn cannot_prepare(schema: &Schema, source: &tokio_postgres::Error) -> Error {
    let error = error::failed("look at the schema", Effect::None, source);
    if error.code() != ErrorCode::PERMISSION_DENIED {
        return error;
    }
    let message = format!(
        "{}; where the role may not make or use the schema {}, an administrator does it once, as the plugin's README says",
        error.message(),
        schema.name()
    );
    Error::new(error.code(), message).with_native_code(error.native_code())
}
