//! Which cases are run, and how.

use std::time::Duration;

use crate::{Case, Effort, cases};

/// Which cases are run, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Only cases whose name contains one of these; empty means all.
    pub only: Vec<String>,
    /// What random numbers come from: the same seed makes the same choices.
    pub seed: u64,
    /// How many rounds are run.
    pub effort: Effort,
    /// How long each case may take, instead of its own deadline.
    pub deadline: Option<Duration>,
    /// What the run does with a store that is not empty.
    pub found: Found,
    /// Whether a promise that could not be tested makes the run a failure ([`Report::fails`](crate::Report::fails)).
    pub is_strict: bool,
}

/// What a run does with a store that is not empty when it begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Found {
    /// It may hold real data: the run does not begin.
    #[default]
    Refused,
    /// It is left over from an earlier run: everything in it is removed.
    Removed,
}

impl Options {
    /// The cases that are meant.
    ///
    /// # Errors
    ///
    /// The first word that is in no case's name.
    pub fn select(&self) -> Result<Vec<Case>, String> {
        let all = cases();
        if let Some(word) = self.only.iter().find(|word| all.iter().all(|case| !case.name.contains(*word))) {
            return Err(word.clone());
        }
        let is_meant =
            |case: &Case| self.only.is_empty() || self.only.iter().any(|word| case.name.contains(word));
        Ok(all.into_iter().filter(is_meant).collect())
    }
}
