//! A backup reads one snapshot, on its own thread and connection, and blocks no writer.
//!
//! The WAL must keep what the backup reads. So the backup ends if the reader asks for no more in time, or if
//! the WAL grows too far.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, unbounded};
use futures_channel::oneshot;
use keyway_sdk::{BackupChunk, BackupPull, BackupStream, CallContext, Error, ErrorCode, Reply, Result};
use rusqlite::Connection;

use crate::{
    client::Client,
    error,
    readers::begin_snapshot,
    shared::Shared,
    sql::{self, At, Position},
};

/// How long a backup waits for the next pull.
const IDLE: Duration = Duration::from_secs(60);
/// How often the WAL is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(500);

type Pull = (BackupPull, oneshot::Sender<Result<BackupChunk>>);

/// The caller's side.
pub(crate) struct SqliteBackup {
    pulls: Sender<Pull>,
}

impl SqliteBackup {
    /// Begins, and answers once the snapshot is fixed.
    pub(crate) fn begin(client: &Client) -> Reply<Box<dyn BackupStream>> {
        // There is one pull at a time. The channel is unbounded all the same: only such a channel drops its
        // messages when the thread ends, and the drop tells the caller.
        let (pulls, asked) = unbounded();
        let (begun, fixed) = oneshot::channel();
        let reading = client.closing().and_then(|closing| {
            client.read_alone(move |connection, shared| {
                let connection = match connection {
                    Ok(connection) => connection,
                    Err(error) => {
                        let _gone = begun.send(Err(error));
                        return;
                    }
                };
                match begin_snapshot(&connection, shared.versions(), "backup") {
                    Err(error) => {
                        let _gone = begun.send(Err(error));
                    }
                    Ok(at) => {
                        if begun.send(Ok(())).is_ok() {
                            serve(&connection, shared, at, &asked, &closing);
                        }
                    }
                }
                if let Err(source) = sql::rollback(&connection) {
                    tracing::error!(%source, "a backup's snapshot could not be let go");
                }
            })
        });
        if let Err(error) = reading {
            return Reply::ready(Err(error));
        }
        Reply::pending(async move {
            fixed.await.unwrap_or_else(|_| Err(error::closed()))?;
            Ok(Box::new(Self { pulls }) as Box<dyn BackupStream>)
        })
    }
}

/// Until all is read, the stream is dropped, a bound is reached or the database is being closed.
fn serve(
    connection: &Connection,
    shared: &Arc<Shared>,
    at: At,
    pulls: &Receiver<Pull>,
    closing: &Receiver<()>,
) {
    let mut position = Position::default();
    let mut asked = Instant::now();
    let begun = shared.place().wal_bytes();
    let wal_is_too_large = || shared.place().wal_bytes().saturating_sub(begun) > shared.wal_limit();
    // Nothing is ever sent: the channel is empty until it is closed.
    let is_closing = || !matches!(closing.try_recv(), Err(TryRecvError::Empty));
    loop {
        let (pull, done) = match pulls.recv_timeout(LOOK) {
            Ok(pull) => pull,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                if is_closing() || asked.elapsed() > IDLE || wal_is_too_large() {
                    return;
                }
                continue;
            }
        };
        asked = Instant::now();
        if is_closing() || wal_is_too_large() {
            let _gone = done.send(Err(ended()));
            return;
        }
        let page = sql::backup_page(connection, at, &mut position, pull.max_items, pull.max_bytes);
        let last = !matches!(page, Ok((_, false)));
        let chunk = page.map(|(records, is_done)| BackupChunk::new(records, is_done));
        let _gone = done.send(chunk.map_err(|source| error::failed("backup", &source)));
        if last {
            return;
        }
    }
}

fn ended() -> Error {
    let message = "the backup was ended: it was all read, it waited for too long, the WAL grew beyond wal_limit_mib \
                   meanwhile, or the database is being closed";
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, message)
}

impl BackupStream for SqliteBackup {
    fn next(&self, _call: &CallContext<'_>, pull: BackupPull) -> Reply<BackupChunk> {
        let (done, chunk) = oneshot::channel();
        match self.pulls.send((pull, done)) {
            Ok(()) => Reply::pending(async move { chunk.await.unwrap_or_else(|_| Err(ended())) }),
            Err(_) => Reply::ready(Err(ended())),
        }
    }
}
