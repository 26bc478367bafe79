//! How a case ends.

use keyway_loader::{Error, ErrorCode, Outcome};
use serde::{Deserialize, Serialize};

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
    /// A read did not answer what it had to: the promise is broken, unless reads may be of an earlier state.
    Misread(String),
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
        match error.code() {
            ErrorCode::CONFLICT if error.outcome() == Outcome::NOT_APPLIED => Self::Conflict(text),
            // The version of its condition may come from a read.
            ErrorCode::PRECONDITION_FAILED => Self::Misread(text),
            _ => Self::Broken(text),
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
            Err(Stop::Broken(seen) | Stop::Misread(seen) | Stop::Conflict(seen)) => Self::Broken(seen),
        }
    }
}
