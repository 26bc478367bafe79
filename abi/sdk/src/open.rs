//! What a backend gets when it is opened.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use keyway_abi::{MetricKind, OpenArgs};

use crate::{
    Reply, Result,
    offload::{self, Threads},
    state::BackendState,
};

/// The directory and the backend that a store is opened for. Cheap to clone; keep one to spawn threads and to
/// record metrics.
#[derive(Clone)]
pub struct OpenContext {
    state: &'static BackendState,
    data_dir: PathBuf,
}

impl OpenContext {
    pub(crate) fn new(state: &'static BackendState, args: &OpenArgs<'_>) -> Self {
        Self { state, data_dir: PathBuf::from(args.data_dir.as_str()) }
    }

    /// The name that the configuration gives to this backend.
    pub fn backend_name(&self) -> &str {
        self.state.name()
    }

    /// The directory that relative paths in the configuration are relative to.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Spawns a thread of this backend's own: its log lines carry the backend's name, and a panic on it
    /// closes this backend and no other.
    ///
    /// # Errors
    ///
    /// When the operating system refuses another thread.
    pub fn spawn_thread<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let state = self.state;
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            state.adopt_thread();
            work()
        })
    }

    /// Does work that blocks on a thread of this backend, and answers with its result.
    ///
    /// The threads start when they are needed, at most [`set_blocking_threads`](Self::set_blocking_threads) of them.
    /// If the reply is dropped before a thread takes the work, the work is not done; work that has begun comes to
    /// its end. A panic is an error of this call. After the shutdown, work that waits is given up, with an error that
    /// proves that it was not done. A backend whose `shutdown` must wait for the work calls
    /// [`close_blocking`](Self::close_blocking) there.
    ///
    /// Work may wait for other work only if there is always a thread for that: all threads could wait for what none is
    /// left to do.
    ///
    /// # Errors
    ///
    /// `ResourceExhausted` if too much work waits or the system gives no thread, `Closed` after the shutdown.
    ///
    /// ```
    /// # use keyway_sdk::{OpenContext, Reply};
    /// # use std::{fs::File, io::Write, sync::Arc};
    /// fn append(context: &OpenContext, log: &Arc<File>, line: Vec<u8>) -> Reply<()> {
    ///     let log = Arc::clone(log);
    ///     context.blocking(move || {
    ///         (&*log).write_all(&line)?;
    ///         Ok(log.sync_data()?)
    ///     })
    /// }
    /// ```
    pub fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Reply<T> {
        offload::run(self.state, Threads::OfCalls, work)
    }

    /// The most threads that do the work of [`blocking`](Self::blocking): 8, unless it is set.
    pub fn set_blocking_threads(&self, most_threads: usize) {
        self.state.pool().set_threads(most_threads);
    }

    /// Does work that no caller waits for. If the backend is closed, the work is dropped.
    pub(crate) fn detached(&self, work: impl FnOnce() + Send + 'static) {
        offload::detach(self.state, work);
    }

    /// As [`blocking`](Self::blocking), for a call of a transaction or a stream.
    pub(crate) fn blocking_in_object<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Reply<T> {
        offload::run(self.state, Threads::OfObjects, work)
    }

    /// Lets no further work begin, waits for what runs, and then does `work` on a separate thread: the last part of a
    /// shutdown. It is done even if the reply is dropped.
    ///
    /// # Errors
    ///
    /// Those of `work`; `ResourceExhausted` if the system gives no thread.
    pub fn close_blocking(&self, work: impl FnOnce() -> Result<()> + Send + 'static) -> Reply<()> {
        offload::close_then(self.state, work)
    }

    /// Adds to a counter of this backend, which only grows. The unit is the last part of the name.
    pub fn count(&self, name: &str, increment: f64) {
        self.state.metric(MetricKind::COUNTER, name, increment);
    }

    /// Sets a gauge of this backend.
    pub fn gauge(&self, name: &str, value: f64) {
        self.state.metric(MetricKind::GAUGE, name, value);
    }
}

impl fmt::Debug for OpenContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, data_dir) = (self.backend_name(), &self.data_dir);
        f.debug_struct("OpenContext")
            .field("backend_name", &name)
            .field("data_dir", data_dir)
            .finish_non_exhaustive()
    }
}
