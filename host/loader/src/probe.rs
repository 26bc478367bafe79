//! Stage 6: loads the library in a child process first. There a crash, an exit, a hang or a memory blow-up of
//! its initializers does not harm the host. The probe tells them apart.
//!
//! The child has an empty environment, no open files but the three standard streams, and limits on memory,
//! processor time and files. On Linux it may neither start processes nor use the network. The probe is no
//! jail: a library that passes runs in the host next. The trust stage decides which may.

pub mod child;
pub(crate) mod rehearsal;
mod sandbox;
mod watch;

use std::{ffi::OsString, io, path::PathBuf, process::Command, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::rehearsal::Rehearsed;
use self::watch::{Ended, MARK, watch};
use crate::{describe::Described, report::Fix};

/// What it writes before it loads the library.
const LOADING: &str = "loading";

/// Loads libraries in child processes.
#[derive(Debug, Clone)]
pub struct Prober {
    /// The program whose child runs [`child::main`]: usually this one.
    pub program: PathBuf,
    /// The arguments that make it do so; the library's paths follow.
    pub arguments: Vec<OsString>,
    /// How long a load may take.
    pub deadline: Duration,
    /// How much memory it may use, in bytes.
    pub memory: u64,
}

impl Prober {
    /// This program, within 10 s and 512 MiB.
    ///
    /// # Errors
    ///
    /// When the program does not know its own file.
    pub fn this_program(arguments: Vec<OsString>) -> io::Result<Self> {
        let program = own_program()?;
        Ok(Self { program, arguments, deadline: Duration::from_secs(10), memory: 512 * 1024 * 1024 })
    }
}

/// This program, to be started again. On Linux by the open file: a program that is replaced while it runs
/// starts itself, not its successor.
///
/// # Errors
///
/// When the program does not know its own file.
pub fn own_program() -> io::Result<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    if cfg!(target_os = "linux") && own.exists() { Ok(own) } else { std::env::current_exe() }
}

/// What the child was not kept from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Each bound that the system does not offer, with its reason.
    pub skipped: Vec<String>,
}

/// A failure of a later stage, reported by the child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub reason: String,
    /// What to do.
    pub fix: String,
    /// Everything that is known, if the reason is short.
    pub detail: Option<String>,
    /// Whether the cause lies in the library's bytes, so that no change of the machine mends it.
    pub lasting: bool,
}

impl Refused {
    /// What a stranger's file says must not paint on an operator's terminal.
    fn harmless(self) -> Self {
        Self {
            reason: harmless(self.reason),
            fix: harmless(self.fix),
            detail: self.detail.map(harmless),
            ..self
        }
    }
}

fn harmless(text: String) -> String {
    text.chars().filter(|letter| !letter.is_control() || *letter == '\n').collect()
}

/// Why a library did not pass.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The child could not be started.
    #[error("start the process that probes plugins, {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The child ended before it had loaded anything.
    #[error("the process that probes plugins, {}, ends before it loads anything{}", program.display(), tail(log))]
    Unable {
        /// The program.
        program: PathBuf,
        /// The first and the last lines that it wrote.
        log: Vec<String>,
    },
    /// It ended by a signal that it brought upon itself.
    #[error("it crashes the process that loads it: {signal}{}", tail(log))]
    Crashed {
        /// The signal's name.
        signal: String,
        /// The first and the last lines that it wrote.
        log: Vec<String>,
    },
    /// It ended the process.
    #[error("it ends the process that loads it, with exit code {code}{}", tail(log))]
    Exited {
        /// The exit code.
        code: i32,
        /// The first and the last lines that it wrote.
        log: Vec<String>,
    },
    /// It did what nothing does that is only loaded.
    #[error(
        "while it is loaded it starts a process, uses the network or touches other processes, which loading does not{}",
        tail(log)
    )]
    Forbidden {
        /// The first and the last lines that it wrote.
        log: Vec<String>,
    },
    /// It did not come to an end.
    #[error("it was not loaded within {} s{}; that is inconclusive, the machine may have been busy", deadline.as_secs(), tail(log))]
    TimedOut {
        /// How long it had.
        deadline: Duration,
        /// The first and the last lines that it wrote.
        log: Vec<String>,
    },
    /// It wanted too much memory.
    #[error("while it is loaded it uses more than {} MiB of memory{}; that is inconclusive", limit >> 20, tail(log))]
    Memory {
        /// How much it may use.
        limit: u64,
        /// The first and the last lines that it wrote.
        log: Vec<String>,
    },
    /// Something outside ended it: an operator, or the system for want of memory.
    #[error(
        "the process that probes it was killed from outside{}; that is inconclusive, the system may have run out of memory",
        tail(log)
    )]
    Killed {
        /// The first and the last lines that it wrote.
        log: Vec<String>,
    },
    /// It was loaded, and does not fit.
    #[error("{}", .0.reason)]
    Refused(Refused),
    /// It has opened a store, which answers wrongly.
    #[error("{reason}")]
    Wrong {
        /// The operation, and its wrong answer.
        reason: String,
    },
}

fn tail(log: &[String]) -> String {
    if log.is_empty() { String::new() } else { format!("; it wrote: {}", log.join(" | ")) }
}

impl ProbeError {
    /// Whether the library has taken its process down.
    pub fn is_crash(&self) -> bool {
        matches!(self, Self::Crashed { .. } | Self::Exited { .. })
    }

    /// Whether it wanted a larger file than it may write.
    pub(crate) fn is_for_want_of_room(&self) -> bool {
        matches!(self, Self::Crashed { signal, .. } if signal == "SIGXFSZ")
    }

    /// Whether another attempt may end otherwise.
    pub fn is_inconclusive(&self) -> bool {
        matches!(
            self,
            Self::Start { .. }
                | Self::Unable { .. }
                | Self::TimedOut { .. }
                | Self::Memory { .. }
                | Self::Killed { .. }
        )
    }
}

impl Fix for ProbeError {
    fn fix(&self) -> String {
        match self {
            Self::Start { .. } | Self::Unable { .. } => {
                "see that the program can be run, and that processes are to be had".to_owned()
            }
            Self::Crashed { .. } | Self::Exited { .. } | Self::Forbidden { .. } | Self::Wrong { .. } => {
                "do not use this file; tell its author".to_owned()
            }
            Self::TimedOut { .. } | Self::Memory { .. } | Self::Killed { .. } => {
                "try again; if it stays so, tell its author".to_owned()
            }
            Self::Refused(refused) => refused.fix.clone(),
        }
    }
}

impl Prober {
    /// Loads a library in a child process.
    ///
    /// # Errors
    ///
    /// `Start` or `Unable` if there can be no child; `Crashed`, `Exited`, `Forbidden`, `TimedOut`, `Memory`
    /// or `Killed` for how it ended; `Refused` or `Wrong` for what it said.
    pub fn probe(&self, described: &Described) -> Result<Passed, ProbeError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(&described.staged.path).arg(&described.staged.source);
        command.env_clear().current_dir("/");
        let ended = watch(command, self.deadline, self.memory)
            .map_err(|source| ProbeError::Start { program: self.program.clone(), source })?;
        self.judge(ended)
    }

    fn judge(&self, ended: Ended) -> Result<Passed, ProbeError> {
        let Ended { status, timed_out, over_memory, output, log } = ended;
        let ran_out = over_memory || log.iter().any(|line| is_out_of_memory(line));
        let told = |word: &str| {
            output.iter().find_map(|line| line.strip_prefix(MARK)?.strip_prefix(word).map(str::to_owned))
        };
        if timed_out {
            return Err(ProbeError::TimedOut { deadline: self.deadline, log });
        }
        if told(LOADING).is_none() {
            return Err(ProbeError::Unable { program: self.program.clone(), log });
        }
        match signal_of(status) {
            Some(signal) if ran_out && signal != "SIGSYS" => {
                Err(ProbeError::Memory { limit: self.memory, log })
            }
            Some("SIGSYS") => Err(ProbeError::Forbidden { log }),
            Some("SIGXCPU") => Err(ProbeError::TimedOut { deadline: self.deadline, log }),
            Some("SIGKILL" | "SIGTERM" | "SIGINT" | "SIGHUP") => Err(ProbeError::Killed { log }),
            Some(signal) => Err(ProbeError::Crashed { signal: signal.to_owned(), log }),
            None => {
                let code = status.code().unwrap_or_default();
                let refused = told("refused ").and_then(|text| serde_json::from_str::<Refused>(&text).ok());
                if let Some(refused) = refused {
                    return Err(ProbeError::Refused(refused.harmless()));
                }
                if let Some(reason) = told("wrong ").and_then(|text| serde_json::from_str(&text).ok()) {
                    return Err(ProbeError::Wrong { reason: harmless(reason) });
                }
                match told("passed ").and_then(|text| serde_json::from_str(&text).ok()) {
                    Some(passed) if code == 0 => Ok(passed),
                    _ if ran_out => Err(ProbeError::Memory { limit: self.memory, log }),
                    _ => Err(ProbeError::Exited { code, log }),
                }
            }
        }
    }
}

/// Rust's and C++'s words for it, and the dynamic linker's.
fn is_out_of_memory(line: &str) -> bool {
    line.contains("memory allocation of ")
        || line.contains("std::bad_alloc")
        || line.contains("cannot allocate memory")
}

/// The name of the signal that has ended a process; none if it ended otherwise.
///
/// By POSIX, `<signal.h>`; numbers that differ between systems by rustix.
#[cfg(unix)]
pub fn signal_of(status: std::process::ExitStatus) -> Option<&'static str> {
    use std::os::unix::process::ExitStatusExt;

    use rustix::process::Signal;
    const NAMES: [(Signal, &str); 14] = [
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::HUP, "SIGHUP"),
        (Signal::ILL, "SIGILL"),
        (Signal::INT, "SIGINT"),
        (Signal::KILL, "SIGKILL"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::SYS, "SIGSYS"),
        (Signal::TERM, "SIGTERM"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
    ];
    let raw = status.signal()?;
    let name = NAMES.iter().find(|(signal, _)| signal.as_raw() == raw).map(|(_, name)| *name);
    Some(name.unwrap_or("an unusual signal"))
}

/// The name of the exception that has ended a process; none if it ended otherwise.
#[cfg(not(unix))]
pub fn signal_of(status: std::process::ExitStatus) -> Option<&'static str> {
    // Windows tells exceptions by exit codes ("NTSTATUS Values").
    match status.code()? as u32 {
        0xC000_0005 => Some("access violation"),
        0xC000_0409 => Some("abort"),
        0xC000_001D => Some("illegal instruction"),
        0xC000_00FD => Some("stack overflow"),
        _ => None,
    }
}
