//! What a backend gets when it is opened.

use std::{
    io,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use keyway_abi::{MetricKind, OpenArgs};

use crate::state::BackendState;

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

    /// Adds to a counter of this backend, which only grows. The unit is the last part of the name.
    pub fn count(&self, name: &str, increment: f64) {
        self.state.metric(MetricKind::COUNTER, name, increment);
    }

    /// Sets a gauge of this backend.
    pub fn gauge(&self, name: &str, value: f64) {
        self.state.metric(MetricKind::GAUGE, name, value);
    }
}
