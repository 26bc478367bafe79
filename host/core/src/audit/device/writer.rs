//! The thread of a device: writes lines in their order, links them, and tries again after a failure.

use std::{
    io,
    sync::{
        Arc, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::job::{Job, State, WriterMessage, tell};
use crate::audit::{
    chain::Chain,
    sink::{Sink, WRITE},
};

/// How long a device that has kept its thread waiting rests, and how often the thread tries a failing device
/// again.
const REST: Duration = Duration::from_secs(1);
/// What has kept the thread waiting.
const LONG: Duration = Duration::from_millis(100);
/// About how many bytes are written at a time.
const BATCH_BYTES: usize = 256 * 1024;

/// The thread of a device.
pub(super) struct Writer {
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
    /// Whether it was opened and failed then, so that only a line proves that it works again.
    has_failed_to_write: bool,
}

impl Writer {
    pub(super) fn new(name: &str, sink: Box<dyn Sink>, state: Arc<State>) -> Self {
        Self {
            name: name.to_owned(),
            sink,
            state,
            chain: None,
            is_torn: false,
            missed: 0,
            rests_until: None,
            has_failed_to_write: false,
        }
    }

    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let first = match self.state.is_failing.load(Ordering::Relaxed) {
                false => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                true => jobs.recv_timeout(REST),
            };
            let first = match first {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.try_again();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut batch = vec![first];
            let mut bytes = 0;
            while bytes < BATCH_BYTES
                && let Ok(job) = jobs.try_recv()
            {
                bytes += job.message.entry().map_or(0, |entry| entry.len());
                batch.push(job);
            }
            self.serve_in_sight(&batch);
            let held = batch.iter().filter_map(|job| job.message.entry()).map(|entry| entry.len()).sum();
            self.state.queued_bytes.fetch_sub(held, Ordering::Relaxed);
            self.state.queued.fetch_sub(batch.len(), Ordering::Relaxed);
        }
    }

    /// If every device fails, the server refuses all requests, and no request would try the device again. So
    /// the thread does.
    fn try_again(&mut self) {
        let (told, _unheard) = mpsc::channel(1);
        let message = if self.has_failed_to_write {
            WriterMessage::Resume(resumed(&self.name))
        } else {
            WriterMessage::Open
        };
        self.serve_in_sight(&[Job { message, told }]);
    }

    /// Serves so that others see for how long.
    fn serve_in_sight(&mut self, batch: &[Job]) {
        let state = Arc::clone(&self.state);
        let busy_since = |since| *state.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
        busy_since(Some(Instant::now()));
        self.serve(batch);
        busy_since(None);
    }

    fn serve(&mut self, batch: &[Job]) {
        let begun = Instant::now();
        if self.rests_until.take_if(|until| *until <= begun).is_none() && self.rests_until.is_some() {
            return self.refuse(batch, "it was too slow just now, and rests");
        }
        if let Err(error) = self.ready() {
            self.sink.close();
            self.fail(begun, &error);
            return self.refuse(batch, &error.to_string());
        }
        let questions = batch.iter().filter(|job| job.message.entry().is_none());
        if batch.iter().all(|job| matches!(job.message, WriterMessage::Probe)) {
            // After a probe alone the sink stays closed, so that another device can open it.
            self.sink.close();
        }
        for job in questions {
            tell(&job.told, Ok(()));
        }
        if batch.iter().all(|job| job.message.entry().is_none()) {
            if !self.has_failed_to_write {
                self.works();
            }
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
            let Some(entry) = job.message.entry() else { continue };
            let line = chain.next_line(entry, missed);
            missed = 0;
            chain = chain.then(line.trim_end_matches('\n').as_bytes());
            text.push_str(&line);
            lines.push((job, text.len(), chain.clone()));
        }
        let mut lines = lines.into_iter().peekable();
        let (mut written, mut begins) = (0, usize::from(self.is_torn));
        let outcome = loop {
            // A job is answered as soon as its line is whole.
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
                self.chain = Some(self.chain.clone().unwrap_or_default().then(piece));
                self.is_torn = true;
            }
        }
        *self.state.chain.lock().unwrap_or_else(PoisonError::into_inner) =
            self.chain.clone().unwrap_or_default();
        match outcome {
            Ok(()) => self.works(),
            Err(error) => {
                self.has_failed_to_write = true;
                self.fail(begun, &error);
                self.refuse(lines.map(|(job, ..)| job), &error.to_string());
            }
        }
    }

    /// Opens the sink if it has to be. A chain that this server has begun goes on there.
    fn ready(&mut self) -> io::Result<()> {
        let Some(started) = self.sink.ready()? else { return Ok(()) };
        // Only this server writes after its own lines. So the chain in memory stands.
        if self.chain.is_none() {
            self.chain = started.chain;
        }
        self.is_torn = started.is_torn.unwrap_or(self.is_torn);
        Ok(())
    }

    fn works(&mut self) {
        self.has_failed_to_write = false;
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
            self.state.missed(u64::from(matches!(job.message, WriterMessage::Write(_))));
            tell(&job.told, Err(format!("{:?}: {reason}", self.name)));
        }
    }
}

/// The line that a device writes first when its thread tries again; its chain tells how many lines are
/// missing before.
fn resumed(name: &str) -> Arc<str> {
    let entry = serde_json::json!({ "type": "resumed", "device": name }).to_string();
    let time = jiff::Timestamp::now();
    entry.replacen('{', &format!("{{\"time\":\"{time}\","), 1).into()
}
