//! A device: a thread that writes lines in their order, from a bounded queue. So a device that hangs does not
//! delay requests while another device works.

mod job;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc, PoisonError,
        atomic::Ordering,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::sync::mpsc;

pub(super) use self::job::Told;
use self::{
    job::{Job, State, WriterMessage, tell},
    writer::Writer,
};
use super::{
    chain::Chain,
    file::FileSink,
    sink::Sink,
    socket::{Address, SocketSink},
    spec::{Spec, Target},
};

/// How long one write may take before the device counts as failing: no request waits longer for its lines.
const STUCK: Duration = Duration::from_secs(2);
/// Most lines that wait for a device.
const QUEUE_LINES: usize = 8_192;
/// Most bytes of lines that wait for a device.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// A device.
pub struct Device {
    spec: Spec,
    queue: SyncSender<Job>,
    state: Arc<State>,
}

/// The figures of a device.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Lines that were written.
    pub lines: u64,
    /// Lines that could not be written.
    pub failures: u64,
    /// Whether it accepts lines, as far as is known.
    pub is_up: bool,
    /// Where its chain ends.
    pub chain: Chain,
}

impl Device {
    /// Starts the thread of a device. It ends when the device is dropped and what it was given is written.
    pub(super) fn start(spec: &Spec, forbidden: &[PathBuf]) -> Self {
        let sink: Box<dyn Sink> = match &spec.target {
            Target::File { path, mode } => Box::new(FileSink::new(path.clone(), *mode, forbidden.to_vec())),
            Target::Tcp(address) => Box::new(SocketSink::new(Address::Tcp(address.clone()))),
            Target::Unix(path) => Box::new(SocketSink::new(Address::Unix(path.clone()))),
        };
        Self::start_over(spec, sink)
    }

    fn start_over(spec: &Spec, sink: Box<dyn Sink>) -> Self {
        let (queue, jobs) = sync_channel(QUEUE_LINES);
        let state = Arc::new(State::default());
        let writer = Writer::new(&spec.name, sink, Arc::clone(&state));
        let started = thread::Builder::new().name("keyway-audit".to_owned()).spawn(move || writer.run(&jobs));
        if let Err(error) = started {
            // Its queue is closed, so that it refuses each line.
            tracing::error!(%error, name = spec.name, "the thread of an audit device cannot be started");
        }
        Self { spec: spec.clone(), queue, state }
    }

    /// Which device.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its figures.
    pub fn figures(&self) -> Figures {
        Figures {
            lines: self.state.lines.load(Ordering::Relaxed),
            failures: self.state.failures.load(Ordering::Relaxed),
            is_up: self.is_up(),
            chain: self.state.chain.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Whether it accepts lines: the last attempt has succeeded, and none hangs. One that fails is tried
    /// again each second.
    pub(super) fn is_up(&self) -> bool {
        let busy_since = *self.state.busy_since.lock().unwrap_or_else(PoisonError::into_inner);
        let is_stuck = busy_since.is_some_and(|since| since.elapsed() > STUCK);
        !is_stuck && !self.state.is_failing.load(Ordering::Relaxed)
    }

    /// Takes an entry, to be written after all that it was given before.
    pub(super) fn take(&self, entry: Arc<str>, told: Told) {
        let bytes = entry.len();
        let queued = self.state.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let failure = if queued + bytes > QUEUE_BYTES {
            Some(told)
        } else {
            self.state.queued.fetch_add(1, Ordering::Relaxed);
            let sent = self.queue.try_send(Job { message: WriterMessage::Write(entry), told });
            sent.err().map(|(TrySendError::Full(job) | TrySendError::Disconnected(job))| {
                self.state.queued.fetch_sub(1, Ordering::Relaxed);
                job.told
            })
        };
        if let Some(told) = failure {
            self.state.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.state.missed(1);
            tell(&told, Err(format!("{:?} is too far behind", self.spec.name)));
        }
    }

    /// Asks whether it could write.
    pub(super) fn probe(&self, told: Told) {
        self.send(WriterMessage::Probe, told);
    }

    /// Has it opened before the first line comes, so that it is known whether it accepts one.
    pub(super) fn open(&self) {
        let (told, _unheard) = mpsc::channel(1);
        self.send(WriterMessage::Open, told);
    }

    fn send(&self, message: WriterMessage, told: Told) {
        self.state.queued.fetch_add(1, Ordering::Relaxed);
        // If the queue is full or closed, `told` is dropped, and the caller notices that.
        if self.queue.try_send(Job { message, told }).is_err() {
            self.state.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether it has not written all that it was given.
    pub(super) fn is_behind(&self) -> bool {
        self.state.queued.load(Ordering::Relaxed) > 0
    }
}
