//! Transactions: each is served by one thread that holds its connection until commit, rollback, or its age's end.
//!
//! A transaction that writes is served by the writer's thread, so that other writers wait for it (the capability
//! `BLOCKS_WRITERS` says so) and nothing that it read can change: serializable. One that only reads has a thread of its
//! own and a snapshot.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, Sender, after, bounded, select};
use futures_channel::oneshot;
use keyway_sdk::{
    CallContext, Committed, CommittedKey, Delete, Error, ErrorCode, Key, Page, Put, Record, Reply, Result,
    Transaction, Version, WriteId, backend::check_condition, paging::ScanPlan,
};
use rusqlite::Connection;

use crate::{
    client::Client,
    error,
    sql::{self, At},
    write::{OwnedOp, Versions, Writing},
};

type Command = Box<dyn FnOnce(&mut Session<'_>) -> Flow + Send>;

/// The caller's side: sends commands, one at a time.
pub(crate) struct SqliteTransaction {
    commands: Sender<Command>,
}

/// The serving side, on its way to a thread.
pub(crate) struct Serve {
    commands: Receiver<Command>,
    versions: Arc<Versions>,
    read_only: bool,
    age: Duration,
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
    /// None where the transaction only reads.
    writing: Option<Writing<'a>>,
    written: BTreeMap<(String, Vec<u8>), Version>,
}

impl SqliteTransaction {
    pub(crate) fn prepare(versions: Arc<Versions>, read_only: bool, age: Duration) -> (Self, Serve) {
        let (sender, commands) = bounded(1);
        (Self { commands: sender }, Serve { commands, versions, read_only, age })
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
                Reply::pending(
                    async move { result.await.unwrap_or_else(|_| Err(ended().with_unknown_outcome())) },
                )
            }
            Err(_) => Reply::ready(Err(ended())),
        }
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session<'_>) -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        self.send(move |session| (work(session), Flow::On))
    }
}

fn ended() -> Error {
    let message =
        "the transaction was rolled back: it was open for too long, the store failed, or it is being closed";
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, message)
}

/// Begins on the writer's thread and stays there. Answers once the transaction is open.
pub(crate) fn begin_write(client: &Client, serve: Serve) -> Reply<()> {
    let Some(closing) = client.closing() else { return Reply::ready(Err(error::closed())) };
    let (begun, opened) = oneshot::channel();
    let served = client.write(move |connection| {
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

/// Begins on a thread of its own.
pub(crate) fn begin_read(client: &Client, serve: Serve) -> Reply<()> {
    let Some(closing) = client.closing() else { return Reply::ready(Err(error::closed())) };
    let (begun, opened) = oneshot::channel();
    if let Err(error) = client.read_alone(move |connection| serve.run(connection, &closing, begun)) {
        return Reply::ready(Err(error));
    }
    Reply::pending(async move { opened.await.unwrap_or_else(|_| Err(error::closed())) })
}

impl Serve {
    fn run(self, connection: &Connection, closing: &Receiver<()>, begun: oneshot::Sender<Result<()>>) {
        let began = if self.read_only { sql::begin_read(connection) } else { sql::begin_write(connection) };
        let session = began.map_err(|source| error::failed("begin", &source)).and_then(|()| {
            let writing = if self.read_only {
                None
            } else {
                Some(Writing::begin(connection, Arc::clone(&self.versions), "transaction")?)
            };
            let at = writing.as_ref().map_or_else(|| self.versions.at().frozen_now(), Writing::at);
            Ok(Session { connection, at, writing, written: BTreeMap::new() })
        });
        match session {
            Err(error) => {
                let _gone = begun.send(Err(error));
            }
            // Whoever no longer waits for the begin gets no session.
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
                recv(closing) -> _ => return,
                recv(end) -> _ => return,
            };
            let Ok(command) = command else { return };
            // After some errors (of the disk, of memory) SQLite rolls back by itself. What came after would be committed
            // one by one.
            if matches!(command(&mut session), Flow::Ended) || session.connection.is_autocommit() {
                return;
            }
        }
    }
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
        let version = writing.put(&op.keyspace, &op.key, &op.value, op.expires_at_ms)?;
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

    fn commit(&mut self) -> Result<Committed> {
        if let Some(writing) = &self.writing {
            writing.finish()?;
        }
        sql::commit(self.connection).map_err(|source| error::commit_failed(&source))?;
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
            sql::scan(session.connection, session.at, plan).map_err(|source| error::failed("scan", &source))
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
                Err(error) if error.code() == ErrorCode::RESOURCE_EXHAUSTED => Ok(()),
                result => result,
            }
        })
    }
}
