//! What a run tells its child processes, and what they answer. Both sides are of one version: the same program.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Program;
use crate::{Effort, Verdict, facts::Facts};

/// One child's work, on its standard input: the subject's settings may hold a password, which other processes
/// see on a command line.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) task: Task,
    pub(crate) subject: Value,
    pub(crate) seed: u64,
    pub(crate) effort: Effort,
    /// How long the whole may take.
    pub(crate) deadline: Duration,
    pub(crate) data_dir: PathBuf,
    /// Where the answer goes: standard output is the library's.
    pub(crate) answer: PathBuf,
    /// Where the calls are noted, if they are.
    pub(crate) timeline: Option<PathBuf>,
    /// What starts processes in turn.
    pub(crate) program: Program,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Open the store and say what it claims.
    Survey,
    /// Remove every keyspace.
    Clear,
    /// Run the case of that name.
    Case(String),
    /// Do a piece of work with the store of a case, until killed.
    Work { name: String, number: u64 },
}

impl Task {
    /// For people.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Survey => "survey",
            Self::Clear => "clear",
            Self::Case(name) | Self::Work { name, .. } => name,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Surveyed(Box<Surveyed>),
    Verdict(Verdict),
    Cleared,
    /// The task could not be begun.
    Failed(String),
}

/// The facts of a store that are known after it was open.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Surveyed {
    pub(crate) facts: Facts,
    /// The names of the cases whose promises it makes.
    pub(crate) claimed: Vec<String>,
    /// The first of its keyspaces.
    pub(crate) keyspaces: Vec<String>,
}

/// What a stranger's library says must not paint on an operator's terminal.
fn harmless(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control() || *letter == '\n').collect()
}

impl Answer {
    /// None if the child has not come to an answer.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let answer: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        Some(match answer {
            Self::Verdict(Verdict::Broken(seen)) => Self::Verdict(Verdict::Broken(harmless(&seen))),
            Self::Verdict(Verdict::Unproved(why)) => Self::Verdict(Verdict::Unproved(harmless(&why))),
            Self::Failed(reason) => Self::Failed(harmless(&reason)),
            Self::Surveyed(mut surveyed) => {
                surveyed.keyspaces.iter_mut().for_each(|name| *name = harmless(name));
                Self::Surveyed(surveyed)
            }
            other => other,
        })
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_vec(self)?)
    }
}
