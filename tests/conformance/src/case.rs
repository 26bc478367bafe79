//! One promise, and the test of it.

use std::{fmt, time::Duration};

use keyway_loader::{Capabilities, Error, ErrorCode, Outcome};
use serde::{Deserialize, Serialize};

use crate::Harness;

/// How long a case may take, unless it says otherwise. Much more than any needs: the machine may be busy.
const DEADLINE: Duration = Duration::from_mins(1);
/// How much longer it may take with all rounds.
const FULL: u32 = 60;

/// One promise, and the test of it.
#[derive(Clone, Copy)]
pub struct Case {
    /// `subject_condition_outcome`.
    pub name: &'static str,
    /// What the interface promises, in a sentence.
    pub promise: &'static str,
    claimed: fn(&Capabilities) -> bool,
    pub(crate) run: fn(&Harness<'_>) -> Outcomes,
    deadline: Duration,
}

impl Case {
    /// A promise that every backend makes.
    pub(crate) const fn new(
        name: &'static str,
        promise: &'static str,
        run: fn(&Harness<'_>) -> Outcomes,
    ) -> Self {
        Self { name, promise, claimed: |_| true, run, deadline: DEADLINE }
    }

    /// A promise that those make for whose capabilities this holds.
    pub(crate) const fn when(self, claimed: fn(&Capabilities) -> bool) -> Self {
        Self { claimed, ..self }
    }

    /// With another deadline.
    pub(crate) const fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Whether a backend with these capabilities makes the promise.
    pub fn is_claimed(&self, capabilities: &Capabilities) -> bool {
        (self.claimed)(capabilities)
    }

    /// How long the test may take before it counts as hanging.
    pub fn deadline(&self, effort: Effort) -> Duration {
        match effort {
            Effort::Short => self.deadline,
            Effort::Full => self.deadline * FULL,
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How many rounds are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Minutes: for every change.
    #[default]
    Short,
    /// Enough rounds to find rare defects.
    Full,
}

/// Why a case ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The promise is broken: what was seen.
    Broken(String),
    /// It could be neither kept nor broken here: why.
    Unproved(String),
    /// Concurrent work interfered, and the error proves that nothing was changed. If the case does not retry,
    /// it is a failure like any other.
    Conflict(String),
}

/// The result of a case.
pub(crate) type Outcomes = Result<(), Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        let text = format!("an operation that must succeed failed: {error}");
        if error.code() == ErrorCode::CONFLICT && error.outcome() == Outcome::NOT_APPLIED {
            Self::Conflict(text)
        } else {
            Self::Broken(text)
        }
    }
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", content = "detail", rename_all = "lowercase")]
pub enum Verdict {
    /// The promise was tested and is kept.
    Kept,
    /// The backend does not make this promise.
    Unclaimed,
    /// The backend makes the promise, and it cannot be tested here: why.
    Unproved(String),
    /// The promise is broken: what was seen.
    Broken(String),
}

impl From<Outcomes> for Verdict {
    fn from(outcomes: Outcomes) -> Self {
        match outcomes {
            Ok(()) => Self::Kept,
            Err(Stop::Unproved(why)) => Self::Unproved(why),
            Err(Stop::Broken(seen) | Stop::Conflict(seen)) => Self::Broken(seen),
        }
    }
}
