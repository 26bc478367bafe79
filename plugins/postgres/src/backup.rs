//! A backup reads one snapshot, on its own connection, and blocks no writer.
//!
//! The server keeps what the snapshot sees while the snapshot is open. So the backup ends if the reader asks
//! for no more in time.

use std::{sync::Arc, time::Duration};

use keyway_sdk::{
    BackupChunk, BackupPull, BackupRecord, BackupStream, Bytes, CallContext, Error, ErrorCode, Reply, Result,
};
use tokio::{
    sync::{Mutex, Notify, OwnedSemaphorePermit},
    task::AbortHandle,
    time::timeout,
};
use tokio_postgres::Row;

use crate::{
    client::Client,
    error::{self, Effect},
    rows::{column, expiry_out},
    session::{Deadline, Session},
    sql::Sql,
};

/// How long a backup waits for the next pull. The server ends a session that is idle in a transaction for a
/// little longer.
const IDLE: Duration = Duration::from_secs(55);

pub(crate) struct PostgresBackup {
    client: Arc<Client>,
    reading: Arc<Mutex<Reading>>,
    asked: Arc<Notify>,
    end: AbortHandle,
}

struct Reading {
    /// None once it has ended.
    session: Option<Session>,
    place: Option<OwnedSemaphorePermit>,
    position: Position,
}

/// Where the next chunk begins.
enum Position {
    Start,
    In { space: i64, name: Vec<u8>, from: Vec<u8> },
    Behind(Vec<u8>),
}

impl PostgresBackup {
    pub(crate) async fn begin(client: Arc<Client>, deadline: Deadline) -> Result<Self> {
        let place = client.stream()?;
        let mut session = client.session(deadline).await?;
        session.begin(deadline, false, true).await?;
        let reading = Arc::new(Mutex::new(Reading {
            session: Some(session),
            place: Some(place),
            position: Position::Start,
        }));
        let asked = Arc::new(Notify::new());
        let watching = watch(Arc::clone(&reading), Arc::clone(&asked), Arc::clone(&client));
        let end = tokio::spawn(watching).abort_handle();
        Ok(Self { client, reading, asked, end })
    }
}

/// Ends the backup when the reader asks for no more, or when the backend closes.
async fn watch(reading: Arc<Mutex<Reading>>, asked: Arc<Notify>, client: Arc<Client>) {
    loop {
        tokio::select! {
            waited = timeout(IDLE, asked.notified()) => if waited.is_err() { break },
            () = client.closing() => break,
        }
    }
    reading.lock().await.end();
}

impl Drop for PostgresBackup {
    fn drop(&mut self) {
        self.end.abort();
        // A pull that is under way ends it when it is dropped itself.
        if let Ok(mut reading) = self.reading.try_lock() {
            reading.end();
        }
    }
}

impl Reading {
    fn end(&mut self) {
        self.session = None;
        self.place = None;
    }

    async fn next(&mut self, client: &Client, deadline: Deadline, pull: BackupPull) -> Result<BackupChunk> {
        let Self { session: Some(session), position, .. } = self else { return Err(ended()) };
        let most = pull.max_items.max(1) as usize;
        let (mut records, mut bytes) = (Vec::new(), 0_u64);
        loop {
            let (space, name, from) = match std::mem::replace(position, Position::Start) {
                Position::In { space, name, from } => (space, name, from),
                before => match next_space(session, deadline, &before).await? {
                    Some(row) => (column(&row, 0, "backup")?, column(&row, 1, "backup")?, Vec::new()),
                    None => return Ok(BackupChunk::new(records, true)),
                },
            };
            let text = String::from_utf8(name.clone()).map_err(|_| error::unexpected("backup"))?;
            // One more than there is room for, which tells whether there is more.
            let room = i64::try_from(most - records.len()).unwrap_or(i64::MAX - 1);
            let budget = i64::try_from(pull.max_bytes.saturating_sub(bytes)).unwrap_or(i64::MAX);
            let limit = room + 1;
            let rows = session
                .rows("backup", Effect::None, deadline, Sql::Copy, &[&space, &from, &budget, &limit])
                .await?;
            let mut rest = None;
            for row in &rows {
                let (key, value): (&[u8], Option<&[u8]>) =
                    (column(row, 0, "backup")?, column(row, 3, "backup")?);
                let size = (key.len() + value.map_or(0, <[u8]>::len)) as u64;
                let is_full = records.len() == most || (!records.is_empty() && bytes + size > pull.max_bytes);
                let Some(value) = value.filter(|_| !is_full) else {
                    rest = Some(key.to_vec());
                    break;
                };
                bytes += size;
                records.push(BackupRecord::new(
                    &text,
                    Bytes::copy_from_slice(key),
                    Bytes::copy_from_slice(value),
                    client.version(column(row, 1, "backup")?),
                    expiry_out(column(row, 2, "backup")?),
                ));
            }
            *position = match rest {
                Some(from) => Position::In { space, name, from },
                None => Position::Behind(name),
            };
            if matches!(position, Position::In { .. }) {
                return Ok(BackupChunk::new(records, false));
            }
            if records.len() == most || bytes >= pull.max_bytes {
                // Whether a further keyspace has records is found with the next pull.
                return Ok(BackupChunk::new(records, false));
            }
        }
    }
}

async fn next_space(session: &mut Session, deadline: Deadline, position: &Position) -> Result<Option<Row>> {
    let (sql, name): (Sql, &[u8]) = match position {
        Position::Behind(name) => (Sql::SpaceBehind, name),
        _ => (Sql::SpaceFrom, &[]),
    };
    let rows = session.rows("backup", Effect::None, deadline, sql, &[&name]).await?;
    Ok(rows.into_iter().next())
}

fn ended() -> Error {
    let message =
        "the backup was ended: a pull of it failed, it waited for too long, or the backend is being closed";
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, message)
}

impl BackupStream for PostgresBackup {
    fn next(&self, call: &CallContext<'_>, pull: BackupPull) -> Reply<BackupChunk> {
        let entered = match self.client.enter() {
            Ok(entered) => entered,
            Err(error) => return Reply::ready(Err(error)),
        };
        self.asked.notify_one();
        let (client, reading, deadline) =
            (Arc::clone(&self.client), Arc::clone(&self.reading), Deadline::of(call));
        Reply::pending(async move {
            let mut reading = reading.lock().await;
            let chunk = reading.next(&client, deadline, pull).await;
            if chunk.as_ref().map_or(true, BackupChunk::is_done) {
                reading.end();
            }
            drop(entered);
            chunk
        })
    }
}
