//! The threads and connections: one thread that writes, some that read, and idle connections for point reads on the
//! caller's thread.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, TryLockError},
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use futures_channel::oneshot;
use keyway_sdk::{Error, ErrorCode, OpenContext, Reply, Result};
use rusqlite::{Connection, OpenFlags};

use crate::{
    error,
    opener::{self, OpenerLock},
    sql::{self, FileKind, JournalMode},
    write::Versions,
};

/// Calls that may wait for the writer, and for the readers.
const QUEUE: usize = 1_024;
/// Threads for scans and whatever finds no idle connection.
const READERS: usize = 4;
/// Connections for point reads on the callers' threads.
const INLINE_READERS: usize = 8;
/// Transactions at a time; each that only reads has a thread and a connection of its own.
pub(crate) const TRANSACTIONS: u64 = 32;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// An open database.
pub(crate) struct Client {
    path: PathBuf,
    versions: Arc<Versions>,
    idle: Mutex<Vec<Connection>>,
    running: Mutex<Option<Running>>,
    context: OpenContext,
}

/// What a shutdown takes away. The threads end when their senders are gone.
struct Running {
    writes: Sender<Job>,
    reads: Sender<Job>,
    threads: Vec<JoinHandle<()>>,
    /// Never sent to: dropping it is the signal.
    close: Sender<()>,
    closing: Receiver<()>,
    lock: Arc<OpenerLock>,
}

impl Client {
    /// Opens the database, and creates it where the file is new.
    pub(crate) fn open(path: PathBuf, context: OpenContext) -> Result<Self> {
        let (path, lock) = opener::prepare(&path)
            .map_err(|source| Error::new(ErrorCode::UNAVAILABLE, source.to_string()))?;
        let lock = Arc::new(lock);
        let opened = open_writer(&path)?;
        let versions = Arc::new(Versions::new(opened.incarnation, opened.last_version));
        let idle: Result<Vec<Connection>> = (0..INLINE_READERS).map(|_| open_reader(&path)).collect();
        let (writes, write_jobs) = bounded(QUEUE);
        let (reads, read_jobs) = bounded(QUEUE);
        let mut threads = vec![spawn(&context, "writer", opened.connection, write_jobs, &lock)?];
        for _ in 0..READERS {
            threads.push(spawn(&context, "reader", open_reader(&path)?, read_jobs.clone(), &lock)?);
        }
        let (close, closing) = bounded(0);
        tracing::info!(path = %path.display(), "database open");
        Ok(Self {
            path,
            versions,
            idle: Mutex::new(idle?),
            running: Mutex::new(Some(Running { writes, reads, threads, close, closing, lock })),
            context,
        })
    }

    /// The numbers of versions, and how the store is read.
    pub(crate) fn versions(&self) -> Arc<Versions> {
        Arc::clone(&self.versions)
    }

    /// Resolves when the database is being closed: whoever holds a transaction open lets it go.
    pub(crate) fn closing(&self) -> Option<Receiver<()>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|running| running.closing.clone())
    }

    /// Runs `work` on the writer's thread. It is skipped if the caller has gone before its turn.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        self.submit(|running| &running.writes, work)
    }

    /// Runs `work` on a reader's thread.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        self.submit(|running| &running.reads, |connection: &mut Connection| work(connection))
    }

    /// An idle connection for a point read on this thread, if there is one at once.
    pub(crate) fn idle(&self) -> Option<Idle<'_>> {
        let mut idle = match self.idle.try_lock() {
            Ok(idle) => idle,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let connection = idle.pop()?;
        drop(idle);
        let lock = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&running.as_ref()?.lock)
        };
        Some(Idle { client: self, connection: Some(connection), _lock: lock })
    }

    /// Runs `work` on a thread and connection of its own, for a transaction that only reads.
    pub(crate) fn read_alone(&self, work: impl FnOnce(&mut Connection) + Send + 'static) -> Result<()> {
        let lock = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.as_ref().map(|running| Arc::clone(&running.lock)).ok_or_else(error::closed)?
        };
        let connection = open_reader(&self.path)?;
        let thread = self.context.spawn_thread("keyway-sqlite-tx", move || {
            let mut connection = connection;
            work(&mut connection);
            drop(connection);
            drop(lock);
        });
        let thread = thread.map_err(|source| no_thread(&source))?;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.as_mut() {
            // So that a close can wait for it; those that have ended are forgotten.
            running.threads.retain(|thread| !thread.is_finished());
            running.threads.push(thread);
        }
        Ok(())
    }

    /// Ends the threads when they have done what was accepted, and closes all connections.
    pub(crate) fn close(&self) -> Reply<()> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let Some(Running { writes, reads, threads, close, closing, lock }) = running else {
            return Reply::ready(Ok(()));
        };
        drop((writes, reads, close, closing));
        let (done, closed) = oneshot::channel();
        let closing = self.context.spawn_thread("keyway-sqlite-close", move || {
            let ended = threads.into_iter().map(JoinHandle::join).filter(std::result::Result::is_err).count();
            drop(lock);
            // Nobody waits any more if this fails.
            let _gone = done.send(ended);
        });
        if let Err(source) = closing {
            return Reply::ready(Err(no_thread(&source)));
        }
        Reply::pending(async move {
            match closed.await {
                Ok(0) => Ok(()),
                _ => Err(Error::new(ErrorCode::INTERNAL, "a thread of the database had panicked")),
            }
        })
    }

    fn submit<T: Send + 'static>(
        &self,
        queue: impl FnOnce(&Running) -> &Sender<Job>,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = running.as_ref() else { return Reply::ready(Err(error::closed())) };
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            if !done.is_canceled() {
                // A caller that went away meanwhile has its outcome unknown.
                let _gone = done.send(work(connection));
            }
        });
        match queue(running).try_send(job) {
            Ok(()) => Reply::pending(async move { result.await.unwrap_or_else(|_| Err(lost())) }),
            Err(TrySendError::Full(_)) => Reply::ready(Err(error::queue_full(QUEUE))),
            Err(TrySendError::Disconnected(_)) => Reply::ready(Err(error::closed())),
        }
    }
}

/// The thread that had the job is gone.
fn lost() -> Error {
    error::closed().with_unknown_outcome()
}

fn no_thread(source: &std::io::Error) -> Error {
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, format!("cannot start a thread: {source}"))
}

/// A borrowed idle connection, which goes back when it is dropped, unless the database has been closed.
pub(crate) struct Idle<'a> {
    client: &'a Client,
    connection: Option<Connection>,
    /// Released after the connection.
    _lock: Arc<OpenerLock>,
}

impl std::ops::Deref for Idle<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("an idle connection is there until it is dropped")
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        // In this order: a close that takes `running` afterwards clears what is pushed here.
        let mut idle = self.client.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.client.running.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        idle.extend(self.connection.take().filter(|_| open));
    }
}

/// The lock is held by every thread, so that it outlives every connection.
fn spawn(
    context: &OpenContext,
    role: &str,
    mut connection: Connection,
    jobs: Receiver<Job>,
    lock: &Arc<OpenerLock>,
) -> Result<JoinHandle<()>> {
    let lock = Arc::clone(lock);
    let work = move || {
        for job in jobs {
            job(&mut connection);
        }
        drop(connection);
        drop(lock);
    };
    context.spawn_thread(&format!("keyway-sqlite-{role}"), work).map_err(|source| no_thread(&source))
}

struct Opened {
    connection: Connection,
    incarnation: u64,
    last_version: u64,
}

fn open_writer(path: &Path) -> Result<Opened> {
    let doing = format!("open {}", path.display());
    let failed = |source| error::failed(&doing, &source);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    match sql::file_kind(&connection).map_err(failed)? {
        FileKind::Foreign => {
            let message = format!("{} is an SQLite database, but not one of Keyway's", path.display());
            return Err(Error::new(ErrorCode::INVALID_ARGUMENT, message));
        }
        FileKind::Ours { data_format } if data_format != sql::DATA_FORMAT => {
            let message = format!(
                "{} has data format {data_format}, and this plugin reads format {}; use the plugin version that wrote it",
                path.display(),
                sql::DATA_FORMAT
            );
            return Err(Error::new(ErrorCode::INVALID_ARGUMENT, message));
        }
        FileKind::Ours { .. } => set_up(&connection, path)?,
        FileKind::Empty => {
            set_up(&connection, path)?;
            let incarnation = getrandom::u64()
                .map_err(|source| Error::new(ErrorCode::INTERNAL, format!("no random bytes: {source}")))?;
            sql::create(&mut connection, incarnation).map_err(failed)?;
        }
    }
    let incarnation = sql::incarnation(&connection).map_err(failed)?;
    let last_version = sql::last_version(&connection).map_err(failed)?;
    Ok(Opened { connection, incarnation, last_version })
}

fn set_up(connection: &Connection, path: &Path) -> Result<()> {
    match sql::set_up_writer(connection) {
        Ok(JournalMode::Wal) => Ok(()),
        Ok(JournalMode::Other(mode)) => {
            let message = format!(
                "{} cannot be used in WAL mode (it is in mode {mode:?}): put it on a local file system",
                path.display()
            );
            Err(Error::new(ErrorCode::UNAVAILABLE, message))
        }
        Err(source) => Err(error::failed("prepare the database", &source)),
    }
}

fn open_reader(path: &Path) -> Result<Connection> {
    let doing = format!("open {} to read", path.display());
    let failed = |source| error::failed(&doing, &source);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    sql::set_up_reader(&connection).map_err(failed)?;
    Ok(connection)
}
