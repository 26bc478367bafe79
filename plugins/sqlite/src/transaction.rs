//! Transactions: each is served by one thread that holds its connection until commit, rollback, or its age's end.
//!
//! The writer's thread serves a transaction that writes. So other writers wait for it (the capability
//! `BLOCKS_WRITERS` says so), and nothing that it read can change: it is serializable. A read-only
//! transaction has its own thread and a snapshot.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, after, select, unbounded};
use futures_channel::oneshot;
use keyway_sdk::{
    CallContext, Committed, CommittedKey, Delete, Error, ErrorCode, Key, Page, Put, Record, Reply, Result,
    Transaction, Version, WriteId, backend::check_condition, paging::ScanPlan,
};
use rusqlite::Connection;

use crate::{
    client::Client,
    error,
    readers::begin_snapshot,
    shared::Shared,
    sql::{self, At},
    write::{OwnedOp, Writing},
};

type Command = Box<dyn FnOnce(&mut Session<'_>) -> Flow + Send>;

/// The caller's side: sends commands, one at a time.
pub(crate) struct SqliteTransaction {
    commands: Sender<Command>,
    closed: Arc<AtomicBool>,
}

/// The serving side, on its way to a thread.
pub(crate) struct Serve {
    commands: Receiver<Command>,
    shared: Arc<Shared>,
    read_only: bool,
    age: Duration,
    /// Set if it ends because the database is being closed.
    closed: Arc<AtomicBool>,
}

/// Whether the session goes on.
enum Flow {
    On,
    Ended,
}

/// A transaction that is being served.
struct Session<'a> {
    connection: &'a Connection,
    at: At,
    shared: &'a Shared,
    /// None if the transaction only reads.
    writing: Option<Writing<'a>>,
    written: BTreeMap<(String, Vec<u8>), Version>,
}

impl SqliteTransaction {
    pub(crate) fn prepare(shared: &Arc<Shared>, read_only: bool, age: Duration) -> (Self, Serve) {
        // There is one call at a time. The channel is unbounded all the same: only such a channel drops its
        // messages when the session ends, and the drop tells the caller.
        let (sender, commands) = unbounded();
        let closed = Arc::new(AtomicBool::new(false));
        let serve =
            Serve { commands, shared: Arc::clone(shared), read_only, age, closed: Arc::clone(&closed) };
        (Self { commands: sender, closed }, serve)
    }

    fn send<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session<'_>) -> (Result<T>, Flow) + Send + 'static,
    ) -> Reply<T> {
        let (done, result) = oneshot::channel();
        let command: Command = Box::new(move |session| {
            let (result, flow) = work(session);
            // A caller that went away has cancelled the transaction; its drop ends the session.
            let _gone = done.send(result);
            flow
        });
        match self.commands.send(command) {
            // The thread has gone while it had the command: it may have done it.
            Ok(()) => {
                let closed = Arc::clone(&self.closed);
                Reply::pending(async move {
                    result.await.unwrap_or_else(|_| Err(ended(&closed).with_unknown_outcome()))
                })
            }
            Err(_) => Reply::ready(Err(ended(&self.closed))),
        }
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session<'_>) -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        self.send(move |session| (work(session), Flow::On))
    }
}

fn ended(closed: &AtomicBool) -> Error {
    if closed.load(Ordering::Acquire) {
        return error::closed();
    }
    let message = "the transaction was rolled back: it was open for too long, or the store failed";
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, message)
}

/// Begins on the writer's thread and stays there. Answers once the transaction is open.
pub(crate) fn begin_write(client: &Client, serve: Serve) -> Reply<()> {
    let (closing, writes) = match client.closing().and_then(|closing| Ok((closing, client.writes()?))) {
        Ok(open) => open,
        Err(error) => return Reply::ready(Err(error)),
    };
    let (begun, opened) = oneshot::channel();
    let served = writes.alone(move |connection| {
        serve.run(connection, &closing, begun);
        Ok(())
    });
    Reply::pending(async move {
        match opened.await {
            Ok(result) => result,
            // The job was refused or its thread is gone: it knows why.
            Err(_) => served.wait().await.and(Err(error::closed())),
        }
    })
}

/// Begins on a separate thread.
pub(crate) fn begin_read(client: &Client, serve: Serve) -> Reply<()> {
    let (begun, opened) = oneshot::channel();
    let reading = client.closing().and_then(|closing| {
        client.read_alone(move |connection, _| match connection {
            Ok(connection) => serve.run(&connection, &closing, begun),
            Err(error) => {
                let _gone = begun.send(Err(error));
            }
        })
    });
    if let Err(error) = reading {
        return Reply::ready(Err(error));
    }
    Reply::pending(async move { opened.await.unwrap_or_else(|_| Err(error::closed())) })
}

impl Serve {
    fn run(self, connection: &Connection, closing: &Receiver<()>, begun: oneshot::Sender<Result<()>>) {
        let (shared, read_only) = (Arc::clone(&self.shared), self.read_only);
        let session =
            if read_only { begin_reading(connection, &shared) } else { begin_writing(connection, &shared) };
        match session {
            Err(error) => {
                let _gone = begun.send(Err(error));
            }
            // If the caller has stopped waiting for the begin, it gets no session.
            Ok(session) => {
                if begun.send(Ok(())).is_ok() {
                    self.serve(session, closing);
                }
            }
        }
        if let Err(source) = sql::rollback(connection) {
            tracing::error!(%source, "rollback failed");
        }
    }

    /// Until the transaction ends: by commit or rollback, by the drop of its handle, by its age, or because the
    /// database is being closed.
    fn serve(self, mut session: Session<'_>, closing: &Receiver<()>) {
        let end = after(self.age);
        loop {
            let command = select! {
                recv(self.commands) -> command => command,
                recv(closing) -> _ => {
                    self.closed.store(true, Ordering::Release);
                    return;
                }
                recv(end) -> _ => return,
            };
            let Ok(command) = command else { return };
            // After some errors (of the disk, of memory) SQLite itself rolls back. Later statements would
            // then be committed one by one.
            let flow = command(&mut session);
            if matches!(flow, Flow::Ended) || session.is_broken() {
                return;
            }
        }
    }
}

fn begin_writing<'a>(connection: &'a Connection, shared: &'a Shared) -> Result<Session<'a>> {
    if let Some(detail) = shared.place().moved() {
        return Err(error::moved(&detail));
    }
    // Its versions are seen before its commit: they must be beyond the bound of no later opening.
    shared.versions().reserve(connection).map_err(|failure| failure.error("begin"))?;
    sql::begin_write(connection).map_err(|source| error::failed("begin", &source))?;
    let writing = Writing::begin(connection, shared.versions(), "transaction");
    Ok(Session { connection, at: writing.at(), shared, writing: Some(writing), written: BTreeMap::new() })
}

fn begin_reading<'a>(connection: &'a Connection, shared: &'a Shared) -> Result<Session<'a>> {
    let at = begin_snapshot(connection, shared.versions(), "begin")?;
    Ok(Session { connection, at, shared, writing: None, written: BTreeMap::new() })
}

impl<'a> Session<'a> {
    fn writing(&mut self) -> Result<&mut Writing<'a>> {
        self.writing
            .as_mut()
            .ok_or_else(|| Error::new(ErrorCode::INVALID_ARGUMENT, "the transaction was begun as read-only"))
    }

    fn put(&mut self, op: OwnedOp) -> Result<()> {
        let writing = self.writing()?;
        check_condition(op.condition, writing.current(&op.keyspace, &op.key)?)?;
        let version = writing.put(&op)?;
        self.written.insert((op.keyspace, op.key), version);
        Ok(())
    }

    fn delete(&mut self, op: OwnedOp) -> Result<bool> {
        let writing = self.writing()?;
        let current = writing.current(&op.keyspace, &op.key)?;
        check_condition(op.condition, current)?;
        writing.delete(&op.keyspace, &op.key)?;
        self.written.remove(&(op.keyspace, op.key));
        Ok(current.is_some())
    }

    /// Whether SQLite has failed or rolled back: half of a write must not be committed.
    fn is_broken(&self) -> bool {
        self.connection.is_autocommit() || self.writing.as_ref().is_some_and(Writing::is_broken)
    }

    fn commit(&mut self) -> Result<Committed> {
        if self.writing.is_some()
            && let Some(detail) = self.shared.place().moved()
        {
            return Err(error::moved(&detail));
        }
        match &self.writing {
            Some(writing) => writing.commit().map_err(|failure| failure.error("commit"))?,
            None => sql::commit(self.connection).map_err(|source| error::commit_failed(&source))?,
        }
        let written = std::mem::take(&mut self.written);
        let keys =
            written.into_iter().map(|((keyspace, key), version)| CommittedKey::new(&keyspace, key, version));
        Ok(keys.collect())
    }
}

impl Transaction for SqliteTransaction {
    fn get(&self, _call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
        let (keyspace, key) = (key.keyspace().to_owned(), key.bytes().to_vec());
        self.run(move |session| {
            sql::get(session.connection, session.at, &keyspace, &key)
                .map_err(|source| error::failed("get", &source))
        })
    }

    fn put(&self, _call: &CallContext<'_>, put: Put<'_>) -> Reply<()> {
        let op = OwnedOp::put(&put);
        self.run(move |session| session.put(op))
    }

    fn delete(&self, _call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
        let op = OwnedOp::delete(&delete);
        self.run(move |session| session.delete(op))
    }

    fn scan(&self, _call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
        let plan = plan.into_owned();
        self.run(move |session| {
            let scanned = sql::scan(session.connection, session.at, plan);
            scanned.map(|(page, _)| page).map_err(|source| error::failed("scan", &source))
        })
    }

    fn commit(&self, _call: &CallContext<'_>, _write_id: WriteId) -> Reply<Committed> {
        self.send(|session| (session.commit(), Flow::Ended))
    }

    fn rollback(&self, _call: &CallContext<'_>) -> Reply<()> {
        // The session rolls back whenever it ends without a commit; one that is gone has done so.
        let reply = self.send(|session| {
            let undone = sql::rollback(session.connection);
            (undone.map_err(|source| error::failed("rollback", &source)), Flow::Ended)
        });
        Reply::pending(async move {
            match reply.wait().await {
                Err(error) if matches!(error.code(), ErrorCode::RESOURCE_EXHAUSTED | ErrorCode::CLOSED) => {
                    Ok(())
                }
                result => result,
            }
        })
    }
}
