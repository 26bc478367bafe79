//! Connections that read: some for point reads on the callers' own threads, some with a thread each for
//! longer reads. None of them ever waits for the writer.

use std::sync::{
    Mutex, MutexGuard, PoisonError, TryLockError,
    atomic::{AtomicUsize, Ordering},
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use futures_channel::oneshot;
use keyway_sdk::{Reply, Result};
use rusqlite::Connection;

use crate::{
    error,
    queue::MAX_CALLS,
    sql::{self, At, Format},
    write::Versions,
};

/// Connections for point reads on the callers' threads.
pub(crate) const INLINE: usize = 8;
/// Threads for scans, and for reads that find no idle connection.
pub(crate) const THREADS: usize = 4;

pub(crate) type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Connections for point reads. Each thread begins its search at a different place, so that threads seldom
/// meet.
pub(crate) struct Idle {
    places: Box<[Mutex<Option<Connection>>]>,
}

static NEXT_PLACE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: usize = NEXT_PLACE.fetch_add(1, Ordering::Relaxed);
}

impl Idle {
    pub(crate) fn new(connections: Vec<Connection>) -> Self {
        Self { places: connections.into_iter().map(|connection| Mutex::new(Some(connection))).collect() }
    }

    /// A free connection, if there is one at once and the database is open.
    pub(crate) fn take(&self) -> Option<Borrowed<'_>> {
        let first = PLACE.with(|place| place % self.places.len().max(1));
        let (behind, before) = (self.places.get(first..)?, self.places.get(..first)?);
        behind.iter().chain(before).find_map(|place| {
            let guard = match place.try_lock() {
                Ok(guard) => guard,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            };
            guard.is_some().then_some(Borrowed(guard))
        })
    }

    /// Closes all, each after the read that is under way.
    pub(crate) fn close(&self) {
        for place in &self.places {
            drop(place.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

/// A connection that is this thread's for as long as it holds it.
pub(crate) struct Borrowed<'a>(MutexGuard<'a, Option<Connection>>);

impl std::ops::Deref for Borrowed<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0.as_ref().expect("only places with a connection are lent")
    }
}

/// What waits for the reading threads.
#[derive(Clone)]
pub(crate) struct Queue(Sender<Job>);

impl Queue {
    pub(crate) fn new() -> (Self, Receiver<Job>) {
        let (sender, jobs) = bounded(MAX_CALLS);
        (Self(sender), jobs)
    }

    /// Runs `work` on one of the threads. It is skipped if the caller has gone before its turn.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            if !done.is_canceled() {
                // A read whose caller went away meanwhile changes nothing.
                let _gone = done.send(work(connection));
            }
        });
        match self.0.try_send(job) {
            Ok(()) => Reply::pending(async move { result.await.unwrap_or_else(|_| Err(error::closed())) }),
            Err(TrySendError::Full(_)) => Reply::ready(Err(error::readers_busy(MAX_CALLS))),
            Err(TrySendError::Disconnected(_)) => Reply::ready(Err(error::closed())),
        }
    }
}

/// Fixes a snapshot, and answers how to read it. Its format stays the same, even if an upgrade runs later.
pub(crate) fn begin_snapshot(connection: &Connection, versions: &Versions, doing: &str) -> Result<At> {
    let format = sql::begin_read(connection).and_then(|()| sql::data_format(connection));
    let format = format.map_err(|source| error::failed(doing, &source))?;
    let at = versions.at().frozen_now();
    Ok(Format::of(format).map_or(at, |format| at.in_format(format)))
}

/// Runs a read in the format that `at` names, and again in the file's own if an upgrade came in between.
pub(crate) fn in_its_format<T>(
    connection: &Connection,
    at: At,
    doing: &str,
    read: impl Fn(At) -> rusqlite::Result<T>,
) -> Result<T> {
    let result = read(at).or_else(|failure| match sql::data_format(connection).map(Format::of) {
        Ok(Some(format)) if format != at.format() => read(at.in_format(format)),
        _ => Err(failure),
    });
    result.map_err(|source| error::failed(doing, &source))
}
