//! A thread that writes lines to a file, such as a pipe without a reader, from a bounded queue.

use std::{
    fs::File,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Most lines that wait.
const QUEUE_LINES: usize = 8_192;
/// Most bytes of lines that wait.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// How often a flush looks whether the lines are written.
const LOOK: Duration = Duration::from_millis(2);

/// Makes a line that says how many lines were dropped.
pub(super) type Notice = Box<dyn Fn(u64) -> Vec<u8> + Send>;

/// The way to the thread. It never waits: what there is no room for is counted and dropped.
#[derive(Clone)]
pub(super) struct LineQueue {
    lines: SyncSender<Vec<u8>>,
    state: Arc<State>,
}

struct State {
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    /// Lines that were dropped, of which no line says so yet.
    unreported: AtomicU64,
    dropped: &'static AtomicU64,
}

impl LineQueue {
    /// Starts the thread, which ends with the process. `dropped` counts what it drops.
    pub(super) fn start(
        name: &str,
        file: File,
        dropped: &'static AtomicU64,
        notice: Notice,
    ) -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE_LINES);
        let state = Arc::new(State {
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            unreported: AtomicU64::new(0),
            dropped,
        });
        let writer = Writer { file, notice, is_torn: false, state: Arc::clone(&state) };
        thread::Builder::new().name(name.to_owned()).spawn(move || writer.run(&queue))?;
        Ok(Self { lines, state })
    }

    /// Takes a line, or drops it.
    pub(super) fn send(&self, line: &[u8]) {
        let state = &self.state;
        let before = state.waiting_bytes.fetch_add(line.len(), Ordering::Relaxed);
        state.waiting.fetch_add(1, Ordering::Relaxed);
        let has_room = before + line.len() <= QUEUE_BYTES;
        if !has_room || self.lines.try_send(line.to_vec()).is_err() {
            state.leaves(line.len());
            state.drop_one();
        }
    }

    /// Waits until everything is written, or the time is over.
    pub(super) fn flush(&self, deadline: Instant) {
        while self.state.waiting.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
    }
}

impl State {
    fn drop_one(&self) {
        self.unreported.fetch_add(1, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn leaves(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::Release);
    }
}

/// A line at a time, as the log writes it. An error would be printed where it happens, so there is none.
impl Write for &LineQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.send(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Writer {
    file: File,
    notice: Notice,
    /// Whether the last line is there in part.
    is_torn: bool,
    state: Arc<State>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Vec<u8>>) {
        while let Ok(line) = queue.recv() {
            self.write(&line);
            self.state.leaves(line.len());
        }
    }

    fn write(&mut self, line: &[u8]) {
        let dropped = self.state.unreported.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let notice = (self.notice)(dropped);
            if !self.write_whole(&notice) {
                self.state.unreported.fetch_add(dropped, Ordering::Relaxed);
            }
        }
        if !self.write_whole(line) {
            self.state.drop_one();
        }
    }

    /// Whether the line is written. A reader that has gone, or a disk that is full, costs one attempt for
    /// each line.
    fn write_whole(&mut self, line: &[u8]) -> bool {
        let separated;
        let mut rest = line;
        if self.is_torn {
            separated = [b"\n", line].concat();
            rest = &separated;
        }
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return false,
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && wait(&self.file).is_ok() => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// Waits for a reader if the pipe is non-blocking.
#[cfg(unix)]
fn wait(file: &File) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    poll(&mut [PollFd::new(file, PollFlags::OUT)], None)?;
    Ok(())
}

#[cfg(not(unix))]
fn wait(_file: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, unix))]
mod tests {
    use std::{io::Read, os::fd::OwnedFd};

    use super::*;

    fn notice() -> Notice {
        Box::new(|dropped| format!("dropped {dropped}\n").into_bytes())
    }

    /// A queue over a pipe, and its reader.
    fn piped(dropped: &'static AtomicU64) -> (LineQueue, File) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        (LineQueue::start("test", writer.into(), dropped, notice()).expect("a thread"), reader.into())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn reader_that_hangs_delays_no_writer_and_learns_what_it_has_missed() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        let (queue, mut reader) = piped(&DROPPED);
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..10_000 {
            queue.send(&line);
        }
        let dropped = DROPPED.load(Ordering::Relaxed);
        assert!(dropped > 5_000, "4 MiB of 10 MB wait, and what the pipe holds: {dropped}");
        let begun = Instant::now();
        queue.flush(begun + Duration::from_millis(50));
        assert!(begun.elapsed() < Duration::from_secs(10), "a flush ends");
        let read = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        queue.flush(soon());
        queue.send(b"last\n");
        queue.flush(soon());
        drop(queue);
        let text = read.join().unwrap();
        // Lines that were dropped before the first line was taken have a notice of their own.
        let told = text.lines().filter_map(|line| line.strip_prefix("dropped "));
        assert_eq!(told.map(|number| number.parse::<u64>().unwrap()).sum::<u64>(), dropped);
        assert_eq!(text.lines().filter(|line| line.len() == 999).count() as u64, 10_000 - dropped);
        assert!(text.ends_with("last\n"));
    }

    #[test]
    fn pipe_that_does_not_wait_gets_every_line() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        let (reader, writer) = io::pipe().unwrap();
        let (mut reader, writer): (File, File) = (OwnedFd::from(reader).into(), OwnedFd::from(writer).into());
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
        let queue = LineQueue::start("test", writer, &DROPPED, notice()).unwrap();
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..1_000 {
            queue.send(&line);
        }
        drop(queue);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!((text.lines().count(), DROPPED.load(Ordering::Relaxed)), (1_000, 0));
    }

    #[test]
    fn full_disk_and_a_reader_that_has_gone_cost_lines_and_nothing_else() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let queue = LineQueue::start("test", full, &DROPPED, notice()).unwrap();
        queue.send(b"a\n");
        queue.flush(soon());
        assert_eq!(DROPPED.load(Ordering::Relaxed), 1);
        static GONE: AtomicU64 = AtomicU64::new(0);
        let (queue, reader) = piped(&GONE);
        drop(reader);
        queue.send(b"a\n");
        queue.send(b"b\n");
        queue.flush(soon());
        assert_eq!(GONE.load(Ordering::Relaxed), 2);
    }
}
