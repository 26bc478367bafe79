//! Runs cases, each in a separate process, and collects their findings.

pub mod child;

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use keyway_loader::Chain;
use serde_json::Value;
use tempfile::TempDir;
use thiserror::Error;

use crate::{
    Case, Finding, Found, Options, Program, Report, Subject, Verdict,
    ground::Ground,
    process::{
        order::{Answer, Order, Surveyed, Task},
        watch::{Ended, Watched},
    },
    timeline,
};

/// How long the store may take to open for the first time, or to be cleared, unless every case has another
/// deadline.
const OPENING_DEADLINE: Duration = Duration::from_mins(1);

/// The directory of a run in which its processes note their calls.
const TIMELINE: &str = "timeline";

/// Why there is no report.
#[derive(Debug, Error)]
pub enum SuiteError {
    /// A filter that fits nothing.
    #[error("no case has {word:?} in its name; --list shows all names")]
    NoSuchCase {
        /// The filter.
        word: String,
    },
    /// A directory for the cases.
    #[error("make a temporary directory for the cases")]
    Directory {
        /// Why.
        source: io::Error,
    },
    /// The program that runs the cases.
    #[error("start {}, which runs the cases", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The first opening.
    #[error("the store does not open, so that nothing can be tested: {reason}")]
    Open {
        /// Why.
        reason: String,
    },
    /// The timeline.
    #[error("write the timeline of all calls to {}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What the run has found all the same.
        report: Box<Report>,
    },
    /// A timeline of cases in one process.
    #[error("a timeline takes a run in separate processes")]
    TraceHere,
    /// The store may hold real data.
    #[error(
        "the store is not empty: it holds the keyspaces {}; the suite removes everything, so give it a separate store, or let it \
         remove these (--clear)",
        names.join(", ")
    )]
    NotEmpty {
        /// The first of its keyspaces.
        names: Vec<String>,
    },
}

/// A run of the suite in separate processes.
pub struct Suite {
    /// What runs each case.
    pub program: Program,
    /// What that program makes a [`Subject`] of.
    pub subject: Value,
    /// Which cases, and how.
    pub options: Options,
    /// The caller sets it to stop the run. The report then holds the findings so far.
    pub stop: Arc<AtomicBool>,
}

/// Without the subject: its settings may hold a password.
impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("program", &self.program)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Suite {
    /// Runs the cases; `heard` gets each finding as soon as it is there.
    ///
    /// # Errors
    ///
    /// See [`SuiteError`]. A broken promise is none: it is in the report.
    pub fn run(&self, mut heard: impl FnMut(&Finding)) -> Result<Report, SuiteError> {
        let selected = self.options.select().map_err(|word| SuiteError::NoSuchCase { word })?;
        let (started, begun) = (SystemTime::now(), Instant::now());
        let directory =
            TempDir::with_prefix("keyway-conformance-").map_err(|source| SuiteError::Directory { source })?;
        if self.options.found == Found::Removed {
            self.clear(&directory.path().join("clear"))?;
        }
        let surveyed = self.survey(&directory.path().join("survey"))?;
        let timeline = self.options.trace.as_ref().map(|path| (path, directory.path().join(TIMELINE)));
        if let Some((_, noted)) = &timeline {
            fs::create_dir(noted).map_err(|source| SuiteError::Directory { source })?;
        }
        let claimed: BTreeSet<&str> = surveyed.claimed.iter().map(String::as_str).collect();
        let mut findings = Vec::new();
        for case in selected {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let finding = if claimed.contains(case.name) {
                self.run_case(&case, &directory.path().join(case.name))
            } else {
                Finding::of(&case, Verdict::Unclaimed, Duration::ZERO)
            };
            heard(&finding);
            findings.push(finding);
        }
        // A store that outlives its data directory is left as it was before. If that fails, the next run says
        // so.
        let clear_up = directory.path().join("clear-up");
        let _stays =
            self.order_until(Task::Clear, &clear_up, self.opening_deadline(), &AtomicBool::new(false));
        let report = Report::new(surveyed.facts, &self.options, started, begun.elapsed(), findings);
        match timeline.map(|(path, noted)| (timeline::write(&noted, path), path)) {
            Some((Err(source), path)) => {
                Err(SuiteError::Trace { path: path.clone(), source, report: Box::new(report) })
            }
            _ => Ok(report),
        }
    }

    fn survey(&self, directory: &Path) -> Result<Surveyed, SuiteError> {
        let deadline = self.opening_deadline();
        let (ended, answer) = self.order(Task::Survey, directory, deadline)?;
        match answer {
            Some(Answer::Surveyed(surveyed)) if surveyed.keyspaces.is_empty() => Ok(*surveyed),
            Some(Answer::Surveyed(surveyed)) => Err(SuiteError::NotEmpty { names: surveyed.keyspaces }),
            Some(Answer::Failed(reason)) => Err(SuiteError::Open { reason }),
            Some(Answer::Verdict(_) | Answer::Cleared) | None => {
                Err(SuiteError::Open { reason: ended.in_words(deadline) })
            }
        }
    }

    fn clear(&self, directory: &Path) -> Result<(), SuiteError> {
        let deadline = self.opening_deadline();
        match self.order(Task::Clear, directory, deadline)? {
            (_, Some(Answer::Cleared)) => Ok(()),
            (_, Some(Answer::Failed(reason))) => Err(SuiteError::Open { reason }),
            (ended, _) => Err(SuiteError::Open { reason: ended.in_words(deadline) }),
        }
    }

    /// How long the store may take to open for the first time, or to be cleared.
    fn opening_deadline(&self) -> Duration {
        self.options.deadline.unwrap_or(OPENING_DEADLINE)
    }

    fn run_case(&self, case: &Case, directory: &Path) -> Finding {
        let begun = Instant::now();
        let deadline = self.options.deadline.unwrap_or_else(|| case.deadline(self.options.effort));
        let verdict = match self.order(Task::Case(case.name.to_owned()), directory, deadline) {
            // If the process cannot be started, that is no finding about the backend. Other cases still run.
            Err(error) => Verdict::Unproved(Chain(&error).to_string()),
            Ok((ended, answer)) => match answer {
                Some(Answer::Verdict(verdict)) if ended.is_success() => verdict,
                Some(Answer::Verdict(Verdict::Broken(seen))) => Verdict::Broken(seen),
                Some(Answer::Failed(reason)) => Verdict::Broken(reason),
                _ if ended.is_the_suites_own() => Verdict::Unproved(ended.in_words(deadline)),
                _ if self.stop.load(Ordering::Relaxed) => {
                    Verdict::Unproved("the run was stopped in it".into())
                }
                // If the process dies after its answer, the promise is broken, too.
                _ => Verdict::Broken(ended.in_words(deadline)),
            },
        };
        // The finding of a broken case says enough: its files are not needed.
        let _stays = fs::remove_dir_all(directory);
        Finding::of(case, verdict, begun.elapsed())
    }

    fn order(
        &self,
        task: Task,
        directory: &Path,
        deadline: Duration,
    ) -> Result<(Ended, Option<Answer>), SuiteError> {
        self.order_until(task, directory, deadline, &self.stop)
    }

    fn order_until(
        &self,
        task: Task,
        directory: &Path,
        deadline: Duration,
        stop: &AtomicBool,
    ) -> Result<(Ended, Option<Answer>), SuiteError> {
        let data_dir = directory.join("data");
        fs::create_dir_all(&data_dir).map_err(|source| SuiteError::Directory { source })?;
        let order = Order {
            task,
            subject: self.subject.clone(),
            seed: self.options.seed,
            effort: self.options.effort,
            deadline,
            data_dir,
            answer: directory.join("answer.json"),
            timeline: directory.parent().map(|run| run.join(TIMELINE)).filter(|noted| noted.is_dir()),
            program: self.program.clone(),
        };
        let failed = |source| SuiteError::Start { program: self.program.path.clone(), source };
        let mut watched = Watched::start(&self.program, &order, &directory.join("log")).map_err(failed)?;
        let ended = watched.wait(deadline, stop).map_err(failed)?;
        Ok((ended, Answer::read(&order.answer)))
    }
}

/// Runs cases in this process: without deadlines, and without cases that need separate processes.
///
/// For a quick look from a test. A backend that crashes or hangs takes this process with it.
///
/// # Errors
///
/// See [`SuiteError`].
pub fn run_here(subject: &Subject, options: &Options) -> Result<Report, SuiteError> {
    let selected = options.select().map_err(|word| SuiteError::NoSuchCase { word })?;
    if options.trace.is_some() {
        return Err(SuiteError::TraceHere);
    }
    let (started, begun) = (SystemTime::now(), Instant::now());
    let directory =
        TempDir::with_prefix("keyway-conformance-").map_err(|source| SuiteError::Directory { source })?;
    let survey = directory.path().join("survey");
    fs::create_dir(&survey).map_err(|source| SuiteError::Directory { source })?;
    if options.found == Found::Removed {
        child::clear_store(subject, &survey).map_err(|reason| SuiteError::Open { reason })?;
    }
    let surveyed = child::survey(subject, &survey).map_err(|reason| SuiteError::Open { reason })?;
    if !surveyed.keyspaces.is_empty() {
        return Err(SuiteError::NotEmpty { names: surveyed.keyspaces });
    }
    let mut findings = Vec::new();
    for case in selected {
        let begun = Instant::now();
        let verdict = if surveyed.claimed.iter().any(|name| name == case.name) {
            let data_dir = directory.path().join(case.name);
            fs::create_dir(&data_dir).map_err(|source| SuiteError::Directory { source })?;
            let ground = Ground {
                subject,
                subject_order: &Value::Null,
                data_dir: &data_dir,
                seed: options.seed,
                effort: options.effort,
                deadline: Duration::MAX,
                program: None,
            };
            child::run_case(ground, &case)
        } else {
            Verdict::Unclaimed
        };
        findings.push(Finding::of(&case, verdict, begun.elapsed()));
    }
    // As after a run in processes: if it fails, the next run says so.
    let _stays = child::clear_store(subject, &survey);
    Ok(Report::new(surveyed.facts, options, started, begun.elapsed(), findings))
}
