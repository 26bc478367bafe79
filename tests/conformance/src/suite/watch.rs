//! A child process: its order, its time, its last words.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Program, order::Order};

/// How often a child is looked at.
const INTERVAL: Duration = Duration::from_millis(2);
/// The bytes of its output that are quoted.
const TAIL_BYTES: usize = 600;

/// A child at work. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Watched {
    child: Child,
    log: PathBuf,
}

/// How a child has ended.
pub(super) struct Ended {
    /// None where it was stopped at its deadline.
    status: Option<ExitStatus>,
    tail: String,
}

impl Watched {
    /// Starts a child with its order; what it prints goes into `log`.
    pub(super) fn start(program: &Program, order: &Order, log: &Path) -> io::Result<Self> {
        let output = File::create(log)?;
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        // A group of its own, so that whatever it starts ends with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn()?;
        let mut watched = Self { child, log: log.to_owned() };
        if let Some(mut input) = watched.child.stdin.take() {
            input.write_all(&serde_json::to_vec(order)?)?;
        }
        Ok(watched)
    }

    /// Waits for the end, at most for `deadline`.
    pub(super) fn wait(&mut self, deadline: Duration) -> io::Result<Ended> {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break Some(status);
            }
            if begun.elapsed() > deadline {
                break None;
            }
            thread::sleep(INTERVAL);
        };
        self.kill()?;
        Ok(Ended { status, tail: tail(&self.log) })
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Kills it and whatever it has started, without warning.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
        }
        self.child.wait()?;
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process_group};
            let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            // Mostly there is nobody left, which is the error.
            let _nobody = group.map(|group| kill_process_group(group, Signal::KILL));
        }
        Ok(())
    }

    /// The last that it has printed.
    pub(super) fn tail(&self) -> String {
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
    pub(super) fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// For people.
    pub(super) fn in_words(&self, deadline: Duration) -> String {
        let end = match self.status {
            None => format!(
                "it did not come to an end within {} s: a call hangs, or waits far too long",
                deadline.as_secs()
            ),
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
    let bytes = fs::read(log).unwrap_or_default();
    let end = bytes.get(bytes.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
    let text = String::from_utf8_lossy(end).replace('\n', " | ");
    text.trim_end_matches(" | ").chars().filter(|letter| !letter.is_control()).collect()
}
