//! The log of the server, on standard error, and its announcements on standard output. No request waits for
//! either: each has a thread that writes from a bounded [`queue`]. Lines that a reader does not take in time
//! are counted and dropped.
//!
//! `tracing-appender` has such a thread, too, but its guard prints to standard output when the reader hangs
//! at the end of the process: that blocks, or panics if standard output is closed. It also bounds lines only,
//! not bytes, and does not count lines that cannot be written.

mod queue;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fs::File,
    io::{self, IsTerminal, Write},
    panic::{self, PanicHookInfo},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::Dispatch;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use self::queue::LineQueue;

/// How long the end of the process waits for lines that are still queued.
const FLUSH: Duration = Duration::from_millis(500);

/// Lines of the log that were dropped since the process began.
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// An announcement on standard output is no line of the log, so it is counted separately.
static UNANNOUNCED: AtomicU64 = AtomicU64::new(0);

/// How many lines of the log were dropped, because they were not read in time or could not be written.
pub(crate) fn lines_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Where the server writes.
pub struct Log {
    lines: LineQueue,
    announcements: LineQueue,
}

#[derive(Clone, Copy)]
enum Format {
    /// For people at a terminal.
    Text,
    /// For programs.
    Json,
}

impl Log {
    /// Starts the threads, and sends trace events and panics to the log. RUST_LOG chooses the events. The
    /// format is text on a terminal, and JSON otherwise.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn start() -> io::Result<Self> {
        let format = if io::stderr().is_terminal() { Format::Text } else { Format::Json };
        let notice = Box::new(move |dropped| format.notice(dropped));
        let lines = LineQueue::start("keyway-log", error_file()?, &DROPPED, notice)?;
        let announcements =
            LineQueue::start("keyway-stdout", output_file()?, &UNANNOUNCED, Box::new(|_| Vec::new()))?;
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        // The layer would print its own errors to standard error, and wait there.
        let builder = tracing_subscriber::fmt()
            .log_internal_errors(false)
            .with_env_filter(filter)
            .with_writer(lines.clone());
        match format {
            Format::Text => builder.init(),
            Format::Json => builder.json().with_ansi(false).init(),
        }
        // The usual hook writes to standard error directly, and waits there.
        panic::set_hook(Box::new(log_panic));
        Ok(Self { lines, announcements })
    }

    /// Writes a line to standard output, for people and for the program that started the server.
    pub fn announce(&self, line: &str) {
        self.announcements.send(line.as_bytes());
    }

    /// Writes a line to standard error as it is.
    pub fn write(&self, line: &str) {
        self.lines.send(line.as_bytes());
    }

    /// Waits until everything is written, but not longer than half a second.
    pub fn flush(&self) {
        let deadline = Instant::now() + FLUSH;
        self.announcements.flush(deadline);
        self.lines.flush(deadline);
    }
}

impl Format {
    /// A line that says how many lines are missing, as the log writes its lines.
    fn notice(self, dropped: u64) -> Vec<u8> {
        let line = Arc::new(Buffer::default());
        let builder = tracing_subscriber::fmt().log_internal_errors(false).with_writer(Arc::clone(&line));
        let dispatch = match self {
            Self::Text => Dispatch::new(builder.finish()),
            Self::Json => Dispatch::new(builder.json().with_ansi(false).finish()),
        };
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::warn!(
                dropped,
                "log lines were dropped: they were not read in time, or could not be written"
            );
        });
        line.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes one line.
#[derive(Default)]
struct Buffer(Mutex<Vec<u8>>);

impl Write for &Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for LineQueue {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

fn log_panic(panicked: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let thread = std::thread::current();
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        location = panicked.location().map(tracing::field::display),
        backtrace,
        "panicked: {}",
        panicked.payload_as_str().unwrap_or("(no text)"),
    );
}

/// Standard error as a file, so that the lock of the standard library's handle delays no line.
#[cfg(unix)]
fn error_file() -> io::Result<File> {
    use std::os::fd::AsFd;
    io::stderr().as_fd().try_clone_to_owned().map(File::from)
}

#[cfg(unix)]
fn output_file() -> io::Result<File> {
    use std::os::fd::AsFd;
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

#[cfg(windows)]
fn error_file() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    io::stderr().as_handle().try_clone_to_owned().map(File::from)
}

#[cfg(windows)]
fn output_file() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    io::stdout().as_handle().try_clone_to_owned().map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notice_is_one_line_in_the_format_of_the_log() {
        let json = Format::Json.notice(7);
        let line: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!((&line["level"], &line["fields"]["dropped"]), (&"WARN".into(), &7.into()));
        let text = String::from_utf8(Format::Text.notice(7)).unwrap();
        assert!(text.contains("WARN") && text.contains("log lines were dropped"), "{text}");
        for line in [json, text.into_bytes()] {
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }
}
