//! An open database: its threads and connections, from the opening to the close.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use futures_channel::oneshot;
use keyway_sdk::{CallContext, OpenContext, Reply, Result};
use rusqlite::Connection;

use crate::{
    checkpointer,
    config::Config,
    connect, error,
    files::{self, OpenedFiles},
    opener::{self, OpenerLock},
    queue::{Queue, Size},
    readers::{self, Borrowed, Idle},
    shared::Shared,
    write::{Versions, Writing},
    writer::Writer,
};

/// Transactions at a time; each read-only one has its own thread and connection.
pub(crate) const TRANSACTIONS: u64 = 32;

/// An open database.
pub(crate) struct Client {
    shared: Arc<Shared>,
    idle: Idle,
    running: Mutex<Option<Running>>,
    /// Who waits for the close that is under way; none if it is done.
    closed: Mutex<Option<Vec<oneshot::Sender<Result<()>>>>>,
}

/// What a shutdown takes away. The threads end when their senders are gone.
struct Running {
    writes: Queue,
    reads: readers::Queue,
    threads: Vec<JoinHandle<()>>,
    /// Never sent to: dropping it is the signal.
    close: Sender<()>,
    closing: Receiver<()>,
    /// Held by each thread too, so that it outlives every connection.
    lock: Arc<OpenerLock>,
}

impl Client {
    /// Opens the database, and creates it if the file is new.
    pub(crate) fn open(config: &Config, context: OpenContext) -> Result<Self> {
        let wanted: PathBuf = context.data_dir().join(&config.path);
        let (path, lock) = opener::prepare(&wanted, config.allow_network_file_system, context.backend_name())
            .map_err(|source| source.into_error())?;
        let wal_limit = config.wal_limit_mib.saturating_mul(1024 * 1024);
        let opened = connect::writer(&path, wal_limit)?;
        let idle: Result<Vec<Connection>> = (0..readers::INLINE).map(|_| connect::reader(&path)).collect();
        let idle = Idle::new(idle?);
        let reading: Result<Vec<Connection>> =
            (0..readers::THREADS).map(|_| connect::reader(&path)).collect();
        let copying = connect::checkpointer(&path, wal_limit)?;
        let versions = Versions::new(opened.incarnation, opened.format, opened.last_version);
        let shared = Arc::new(Shared::new(versions, OpenedFiles::of(&path), context, wal_limit));

        let lock = Arc::new(lock);
        let (writes, write_jobs) = Queue::new();
        let (reads, read_jobs) = readers::Queue::new();
        let (checkpoints, checkpoint_calls) = bounded(1);
        let mut threads = vec![
            spawn(&shared, &lock, "writer", move |shared| {
                Writer::new(opened.connection, shared, write_jobs, checkpoints).run();
            })?,
            spawn(&shared, &lock, "checkpoint", move |shared| {
                checkpointer::run(&copying, shared, &checkpoint_calls)
            })?,
        ];
        for connection in reading? {
            let jobs = read_jobs.clone();
            let work = move |_: &Shared| jobs.into_iter().for_each(|job| job(&connection));
            threads.push(spawn(&shared, &lock, "reader", work)?);
        }
        let (close, closing) = bounded(0);
        let free_bytes = files::free_bytes(&path).unwrap_or(0);
        tracing::info!(path = %path.display(), data_format = opened.format.number(), free_bytes, "database open");
        Ok(Self {
            shared,
            idle,
            running: Mutex::new(Some(Running { writes, reads, threads, close, closing, lock })),
            closed: Mutex::new(Some(Vec::new())),
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Resolves when the database closes. The holder of an open transaction then ends it.
    pub(crate) fn closing(&self) -> Result<Receiver<()>> {
        self.running(|running| running.closing.clone())
    }

    /// The writer's queue.
    pub(crate) fn writes(&self) -> Result<Queue> {
        self.running(|running| running.writes.clone())
    }

    /// Runs `work` in a transaction, which it may share, and answers after the sync. Each call takes the
    /// queue again, so that a caller that keeps the client does not delay a close.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        call: &CallContext<'_>,
        doing: &'static str,
        size: Size,
        work: impl FnMut(&mut Writing<'_>) -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        match self.writes() {
            Ok(writes) => writes.write(call, doing, size, work),
            Err(error) => Reply::ready(Err(error)),
        }
    }

    /// The queue of the reading threads.
    pub(crate) fn reads(&self) -> Result<readers::Queue> {
        self.running(|running| running.reads.clone())
    }

    fn running<T>(&self, part: impl FnOnce(&Running) -> T) -> Result<T> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(part).ok_or_else(error::closed)
    }

    /// An idle connection for a point read on this thread, if there is one at once.
    pub(crate) fn idle(&self) -> Option<Borrowed<'_>> {
        self.idle.take()
    }

    /// Runs `work` on its own thread and connection: for long reads from one snapshot.
    pub(crate) fn read_alone(
        &self,
        work: impl FnOnce(Result<Connection>, &Arc<Shared>) + Send + 'static,
    ) -> Result<()> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = running.as_mut().ok_or_else(error::closed)?;
        let path = self.shared.place().database().to_owned();
        let (shared, lock) = (Arc::clone(&self.shared), Arc::clone(&running.lock));
        let work = move || {
            work(connect::reader(&path), &shared);
            drop(lock);
        };
        let thread = self.shared.context().spawn_thread("keyway-sqlite-snapshot", work);
        // A close waits for these threads; ended ones are removed from the list.
        running.threads.retain(|thread| !thread.is_finished());
        running.threads.push(thread.map_err(|source| error::no_thread(&source))?);
        Ok(())
    }

    /// Ends the threads after they have done what was accepted, and closes all connections. A second call
    /// during that time waits too.
    pub(crate) fn close(self: &Arc<Self>) -> Reply<()> {
        let waits = {
            let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(waiting) = closed.as_mut() else { return Reply::ready(Ok(())) };
            let (done, waits) = oneshot::channel();
            waiting.push(done);
            waits
        };
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running
            && let Err(error) = self.close_behind(running)
        {
            return Reply::ready(Err(error));
        }
        Reply::pending(async move { waits.await.unwrap_or_else(|_| Err(error::closed())) })
    }

    fn close_behind(self: &Arc<Self>, running: Running) -> Result<()> {
        let Running { writes, reads, threads, close, closing, lock } = running;
        drop((writes, reads, close, closing));
        let (this, held) = (Arc::clone(self), Arc::clone(&lock));
        let work = move || {
            this.idle.close();
            let ended = threads.into_iter().map(JoinHandle::join).filter(std::result::Result::is_err).count();
            this.leave_no_wal();
            drop(lock);
            this.answer_closed(|| if ended == 0 { Ok(()) } else { Err(error::thread_panicked()) });
        };
        let closing = self.shared.context().spawn_thread("keyway-sqlite-close", work);
        closing.map(|_| ()).map_err(|source| {
            // The threads end by themselves; the lock stays until no connection of ours is open.
            self.idle.close();
            self.answer_closed(|| Err(error::no_thread(&source)));
            drop(held);
            error::no_thread(&source)
        })
    }

    fn answer_closed(&self, result: impl Fn() -> Result<()>) {
        let waiting = self.closed.lock().unwrap_or_else(PoisonError::into_inner).take();
        for done in waiting.into_iter().flatten() {
            // The send fails only if the caller has gone.
            let _gone = done.send(result());
        }
    }

    /// Makes sure that no WAL stays. SQLite copies the WAL into the database and removes it when the last
    /// connection closes, but only if that connection may write. The last one so far may have been a reader.
    fn leave_no_wal(&self) {
        if self.shared.place().moved().is_none()
            && let Err(error) = connect::checkpointer(self.shared.place().database(), self.shared.wal_limit())
                .and_then(|connection| connect::touch(&connection))
        {
            tracing::warn!(%error, "the WAL stays next to the database; the next opening reads it");
        }
    }
}

fn spawn(
    shared: &Arc<Shared>,
    lock: &Arc<OpenerLock>,
    role: &str,
    work: impl FnOnce(&Shared) + Send + 'static,
) -> Result<JoinHandle<()>> {
    let (own, lock) = (Arc::clone(shared), Arc::clone(lock));
    let thread = shared.context().spawn_thread(&format!("keyway-sqlite-{role}"), move || {
        work(&own);
        drop(lock);
    });
    thread.map_err(|source| error::no_thread(&source))
}
