//! The findings of a run: for people, and as files to keep with a library.

mod junit;

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{Case, Effort, Facts, Options, Verdict};

/// The version of the report's form.
const FORMAT: u32 = 1;

/// What became of all cases of a run, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this form; 1.
    pub format: u32,
    /// The suite's version.
    pub suite: String,
    /// What was tested.
    #[serde(flatten)]
    pub facts: Facts,
    /// What random numbers came from.
    pub seed: u64,
    /// How many rounds were run.
    pub effort: Effort,
    /// Whether it is about every case, and not about a selection or what was found until the run was stopped.
    pub complete: bool,
    /// When it began: seconds since 1970, UTC.
    pub started_s: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Each case.
    pub cases: Vec<Finding>,
}

/// What became of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The case.
    pub name: String,
    /// What was promised.
    pub promise: String,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl Finding {
    pub(crate) fn of(case: &Case, verdict: Verdict, took: Duration) -> Self {
        let (name, promise) = (case.name.to_owned(), case.promise.to_owned());
        Self { name, promise, verdict, duration_ms: millis(took) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, promise, .. } = self;
        match &self.verdict {
            Verdict::Kept => write!(f, "kept       {name}"),
            Verdict::Unclaimed => write!(f, "unclaimed  {name}"),
            Verdict::Unproved(why) => {
                write!(f, "UNPROVED   {name}: {}", why.replace('\n', "\n             "))
            }
            Verdict::Broken(seen) => {
                // Further lines stand beneath, so that none of them looks like a verdict.
                let seen = seen.replace('\n', "\n                       ");
                write!(
                    f,
                    "BROKEN     {name}\n             promised: {promise}\n             seen:     {seen}"
                )
            }
        }
    }
}

impl Report {
    pub(crate) fn new(
        facts: Facts,
        options: &Options,
        started: SystemTime,
        took: Duration,
        cases: Vec<Finding>,
    ) -> Self {
        Self {
            format: FORMAT,
            suite: env!("CARGO_PKG_VERSION").to_owned(),
            facts,
            seed: options.seed,
            effort: options.effort,
            complete: cases.len() == crate::cases().len(),
            started_s: started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            duration_ms: millis(took),
            cases,
        }
    }

    /// The findings with a broken promise.
    pub fn broken(&self) -> impl Iterator<Item = &Finding> {
        self.cases.iter().filter(|finding| matches!(finding.verdict, Verdict::Broken(_)))
    }

    /// The findings of promises that could not be tested here.
    pub fn unproved(&self) -> impl Iterator<Item = &Finding> {
        self.cases.iter().filter(|finding| matches!(finding.verdict, Verdict::Unproved(_)))
    }

    /// The findings of promises that were tested and kept.
    pub fn kept(&self) -> impl Iterator<Item = &Finding> {
        self.cases.iter().filter(|finding| finding.verdict == Verdict::Kept)
    }

    /// Whether the run is a failure: a promise is broken, or unproved if `options` are strict.
    pub fn fails(&self, options: &Options) -> bool {
        self.broken().next().is_some() || (options.is_strict && self.unproved().next().is_some())
    }

    /// The last line of a run.
    pub fn summary(&self) -> String {
        let unclaimed = self.cases.iter().filter(|finding| finding.verdict == Verdict::Unclaimed).count();
        format!(
            "{} {}: {} promises kept, {} broken, {} unproved, {unclaimed} unclaimed (seed {}, {:.1} s)",
            self.facts.plugin,
            self.facts.version,
            self.kept().count(),
            self.broken().count(),
            self.unproved().count(),
            self.seed,
            Duration::from_millis(self.duration_ms).as_secs_f64(),
        )
    }

    /// As a JSON document.
    ///
    /// # Panics
    ///
    /// Never: all of it can be written as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has string keys only") + "\n"
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.cases {
            writeln!(f, "{finding}")?;
        }
        f.write_str(&self.summary())
    }
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
