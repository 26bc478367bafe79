//! A device: a thread that writes lines in their order, behind a bounded queue, so that one that hangs keeps nobody waiting who
//! has another.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    chain::Chain,
    file::FileSink,
    socket::{Address, SocketSink},
    spec::{Spec, Target},
};

/// How long a write may take: less than requests wait, so that they are told why.
pub(super) const WRITE: Duration = Duration::from_millis(1_500);
/// How long a device that has kept its thread waiting is not tried again.
const REST: Duration = Duration::from_secs(1);
/// What has kept the thread waiting.
const LONG: Duration = Duration::from_millis(100);
/// Most lines that wait for a device.
const QUEUE_LINES: usize = 8_192;
/// Most bytes of lines that wait for a device.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// About how many bytes are written at a time.
const BATCH_BYTES: usize = 256 * 1024;

/// Where lines go.
pub(super) trait Sink: Send {
    /// Opens it, where it is not open or no longer the one that it should be. Answers how it starts where it was opened.
    fn ready(&mut self) -> io::Result<Option<Started>>;
    /// Writes a part of these bytes, and says how many.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Something has failed: it is opened anew before the next line, unless it was only slow. Answers whether a piece of a
    /// line stays where it was written, and the next line comes behind it.
    fn failed(&mut self, error: &io::Error) -> bool;
    /// Closes it.
    fn close(&mut self);
}

/// How a sink starts.
#[derive(Default)]
pub(super) struct Started {
    /// Where the chain ends that it holds already; none where it holds none.
    pub(super) chain: Option<Chain>,
    /// Whether what it holds ends without a newline; none where only the writer can know.
    pub(super) is_torn: Option<bool>,
}

/// Whether a line was accepted, or why not.
pub(super) type Told = mpsc::Sender<Result<(), String>>;

struct Job {
    /// None asks only whether the device could write.
    entry: Option<Arc<str>>,
    told: Told,
}

/// A device.
pub struct Device {
    spec: Spec,
    queue: SyncSender<Job>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    queued_bytes: AtomicUsize,
    queued: AtomicUsize,
    lines: AtomicU64,
    failures: AtomicU64,
    is_failing: AtomicBool,
    chain: Mutex<Chain>,
}

/// What is known of a device.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Lines that were written.
    pub lines: u64,
    /// Lines that could not be written.
    pub failures: u64,
    /// Whether the last line could be written.
    pub is_up: bool,
    /// Where its chain ends.
    pub chain: Chain,
}

impl Device {
    /// Starts the thread of a device. It ends when the device is dropped and what it was given is written.
    pub(super) fn start(spec: &Spec, forbidden: &[PathBuf]) -> Self {
        let (queue, jobs) = sync_channel(QUEUE_LINES);
        let state = Arc::new(State::default());
        let sink: Box<dyn Sink> = match &spec.target {
            Target::File { path, mode } => Box::new(FileSink::new(path.clone(), *mode, forbidden.to_vec())),
            Target::Tcp(address) => Box::new(SocketSink::new(Address::Tcp(address.clone()))),
            Target::Unix(path) => Box::new(SocketSink::new(Address::Unix(path.clone()))),
        };
        let writer = Writer {
            name: spec.name.clone(),
            sink,
            state: Arc::clone(&state),
            chain: None,
            is_torn: false,
            missed: 0,
            rests_until: None,
        };
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

    /// What is known of it.
    pub fn figures(&self) -> Figures {
        Figures {
            lines: self.state.lines.load(Ordering::Relaxed),
            failures: self.state.failures.load(Ordering::Relaxed),
            is_up: !self.state.is_failing.load(Ordering::Relaxed),
            chain: self.state.chain.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Takes an entry, to be written after all that it was given before.
    pub(super) fn take(&self, entry: Arc<str>, told: Told) {
        let bytes = entry.len();
        let queued = self.state.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let failure = if queued + bytes > QUEUE_BYTES {
            Some(told)
        } else {
            self.state.queued.fetch_add(1, Ordering::Relaxed);
            let sent = self.queue.try_send(Job { entry: Some(entry), told });
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
        self.state.queued.fetch_add(1, Ordering::Relaxed);
        // A queue that is full, or closed, says so by dropping `told`.
        if self.queue.try_send(Job { entry: None, told }).is_err() {
            self.state.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether it has not written all that it was given.
    pub(super) fn is_behind(&self) -> bool {
        self.state.queued.load(Ordering::Relaxed) > 0
    }
}

impl State {
    fn missed(&self, lines: u64) {
        self.failures.fetch_add(lines, Ordering::Relaxed);
    }
}

fn tell(told: &Told, answer: Result<(), String>) {
    // Each device tells once, and whoever has given up listens no more.
    let _given_up = told.try_send(answer);
}

struct Writer {
    name: String,
    sink: Box<dyn Sink>,
    state: Arc<State>,
    /// None until something was opened.
    chain: Option<Chain>,
    /// Whether what was written ends in a piece of a line.
    is_torn: bool,
    /// Failures that the chain tells of already.
    missed: u64,
    rests_until: Option<Instant>,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut batch = vec![first];
            let mut bytes = 0;
            while bytes < BATCH_BYTES
                && let Ok(job) = jobs.try_recv()
            {
                bytes += job.entry.as_ref().map_or(0, |entry| entry.len());
                batch.push(job);
            }
            self.serve(&batch);
            let held = batch.iter().filter_map(|job| job.entry.as_ref()).map(|entry| entry.len()).sum();
            self.state.queued_bytes.fetch_sub(held, Ordering::Relaxed);
            self.state.queued.fetch_sub(batch.len(), Ordering::Relaxed);
        }
    }

    fn serve(&mut self, batch: &[Job]) {
        let begun = Instant::now();
        if self.rests_until.take_if(|until| *until <= begun).is_none() && self.rests_until.is_some() {
            return self.refuse(batch, "it has just kept everybody waiting");
        }
        if let Err(error) = self.ready() {
            self.sink.close();
            self.fail(begun, &error);
            return self.refuse(batch, &error.to_string());
        }
        let only_asked = batch.iter().all(|job| job.entry.is_none());
        if only_asked {
            // Whoever only asks may have it opened by another behind it.
            self.sink.close();
        }
        for job in batch.iter().filter(|job| job.entry.is_none()) {
            tell(&job.told, Ok(()));
        }
        if only_asked {
            return;
        }
        let mut chain = self.chain.clone().unwrap_or_default();
        let (mut text, mut lines) = (String::new(), Vec::new());
        if self.is_torn {
            text.push('\n');
        }
        let failures = self.state.failures.load(Ordering::Relaxed);
        let mut missed = failures - self.missed;
        for job in batch {
            let Some(entry) = &job.entry else { continue };
            let line = chain.next_line(entry, missed);
            missed = 0;
            chain = chain.behind(line.trim_end_matches('\n').as_bytes());
            text.push_str(&line);
            lines.push((job, text.len(), chain.clone()));
        }
        let mut lines = lines.into_iter().peekable();
        let (mut written, mut begins) = (0, usize::from(self.is_torn));
        let outcome = loop {
            // Whoever's line is whole is told at once.
            while let Some((job, end, chain)) = lines.next_if(|(_, end, _)| *end <= written) {
                begins = end;
                self.missed = failures;
                self.state.lines.fetch_add(1, Ordering::Relaxed);
                self.chain = Some(chain);
                tell(&job.told, Ok(()));
            }
            let Some(rest) = text.as_bytes().get(written..).filter(|rest| !rest.is_empty()) else {
                break Ok(());
            };
            if begun.elapsed() > WRITE {
                break Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"));
            }
            match self.sink.write(rest) {
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.is_torn &= written == 0;
        if let Err(error) = &outcome {
            let piece = text.as_bytes().get(begins..written).unwrap_or_default();
            if self.sink.failed(error) && !piece.is_empty() {
                self.chain = Some(self.chain.clone().unwrap_or_default().behind(piece));
                self.is_torn = true;
            }
        }
        *self.state.chain.lock().unwrap_or_else(PoisonError::into_inner) =
            self.chain.clone().unwrap_or_default();
        match outcome {
            Ok(()) => self.works(),
            Err(error) => {
                self.fail(begun, &error);
                self.refuse(lines.map(|(job, ..)| job), &error.to_string());
            }
        }
    }

    /// Opens the sink where it has to be. A chain that this server has begun goes on there.
    fn ready(&mut self) -> io::Result<()> {
        let Some(started) = self.sink.ready()? else { return Ok(()) };
        // Behind a line of this server's stands what it has written, or nobody.
        if self.chain.is_none() {
            self.chain = started.chain;
        }
        self.is_torn = started.is_torn.unwrap_or(self.is_torn);
        Ok(())
    }

    fn works(&mut self) {
        if self.state.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!(name = self.name, "the audit device works again");
        }
    }

    fn fail(&mut self, begun: Instant, error: &io::Error) {
        if begun.elapsed() > LONG {
            self.rests_until = Some(Instant::now() + REST);
        }
        if !self.state.is_failing.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, name = self.name, "the audit device fails");
        }
    }

    fn refuse<'j>(&self, jobs: impl IntoIterator<Item = &'j Job>, reason: &str) {
        for job in jobs {
            self.state.missed(u64::from(job.entry.is_some()));
            tell(&job.told, Err(format!("{:?}: {reason}", self.name)));
        }
    }
}

/// Waits until a FIFO takes more, but not for ever.
#[cfg(unix)]
pub(super) fn wait_until_writable(file: &std::fs::File) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec::try_from(WRITE).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut polled = [PollFd::new(file, PollFlags::OUT)];
    if poll(&mut polled, Some(&timeout))? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "its reader does not read"));
    }
    Ok(())
}
