//! A child process: its order, its time, its last words.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Program, order::Order};

/// How often a child is looked at.
const INTERVAL: Duration = Duration::from_millis(2);
/// The bytes of its output that are quoted.
const TAIL_BYTES: u64 = 600;
/// The most that it may print.
const MAX_LOG_BYTES: u64 = 256 * 1024 * 1024;
/// The exit code of a child that could not do its part, which says nothing of the backend: EX_SOFTWARE of
/// sysexits(3).
pub(crate) const OWN_FAILURE: u8 = 70;

/// A child at work. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Watched {
    child: Child,
    /// Stays open for as long as this process lives and wants the child: it ends when this does.
    _lifeline: Option<ChildStdin>,
    log: PathBuf,
}

/// How a child has ended.
pub(crate) struct Ended {
    /// None if it was stopped at its deadline.
    status: Option<ExitStatus>,
    tail: String,
}

impl Watched {
    /// Starts a child with its order; what it prints goes into `log`.
    pub(crate) fn start(program: &Program, order: &Order, log: &Path) -> io::Result<Self> {
        let output = File::create(log)?;
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        // A separate process group, so that all processes that it starts end with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let mut lifeline = child.stdin.take();
        if let Some(input) = &mut lifeline {
            let mut line = serde_json::to_vec(order)?;
            line.push(b'\n');
            input.write_all(&line)?;
        }
        Ok(Self { child, _lifeline: lifeline, log: log.to_owned() })
    }

    /// Waits for the end, at most for `deadline`.
    pub(crate) fn wait(&mut self, deadline: Duration, stop: &AtomicBool) -> io::Result<Ended> {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break Some(status);
            }
            let is_flooding = fs::metadata(&self.log).is_ok_and(|log| log.len() > MAX_LOG_BYTES);
            if begun.elapsed() > deadline || is_flooding || stop.load(Ordering::Relaxed) {
                break None;
            }
            thread::sleep(INTERVAL);
        };
        self.kill()?;
        Ok(Ended { status, tail: tail(&self.log) })
    }

    /// How it has ended by itself; none if it has not.
    pub(crate) fn ended(&mut self) -> io::Result<Option<Ended>> {
        let status = self.child.try_wait()?;
        Ok(status.map(|status| Ended { status: Some(status), tail: tail(&self.log) }))
    }

    /// Kills it and the processes that it has started, without warning.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
        }
        self.child.wait()?;
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process_group};
            let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            // It mostly fails because no process of the group is left.
            let _killed = group.map(|group| kill_process_group(group, Signal::KILL));
        }
        Ok(())
    }

    /// The last that it has printed.
    pub(crate) fn tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to do.
        let _ended = self.kill();
    }
}

impl Ended {
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Whether the suite in the child ended it, for its own reasons.
    pub(crate) fn is_the_suites_own(&self) -> bool {
        self.status.and_then(|status| status.code()) == Some(i32::from(OWN_FAILURE))
    }

    /// For people.
    pub(crate) fn in_words(&self, deadline: Duration) -> String {
        let end = match self.status {
            None => format!(
                "it did not come to an end within {} s: a call hangs, or waits far too long",
                deadline.as_secs()
            ),
            Some(_) if self.is_the_suites_own() => "the suite could not run it".to_owned(),
            Some(status) => match keyway_loader::probe::signal_of(status) {
                Some(signal) => format!("it took its process down: {signal}"),
                None => format!("it ended its process, with {status}"),
            },
        };
        if self.tail.is_empty() { end } else { format!("{end}; the last that was printed: {}", self.tail) }
    }
}

/// The end of a log, in one line, without what would paint on a terminal.
fn tail(log: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut end = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut end)?;
        Ok(end)
    };
    // If it cannot be read, there is nothing to quote.
    let end = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&end).replace('\n', " | ");
    text.trim_end_matches(" | ").chars().filter(|letter| !letter.is_control()).collect()
}
