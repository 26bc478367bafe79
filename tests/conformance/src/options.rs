//! Which cases are run, and how.

use std::{path::PathBuf, time::Duration};

use crate::{Case, Effort, cases};

/// Which cases are run, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Only cases whose name contains one of these; empty means all.
    pub only: Vec<String>,
    /// Only the case of this name: see [`Options::reproduce`].
    pub exactly: Option<String>,
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
    /// Where a timeline of all calls is written: JSON in the trace event format of Chrome, which <https://ui.perfetto.dev>
    /// shows. With keys and lengths of values, without values. Each call takes longer.
    pub trace: Option<PathBuf>,
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
    /// The options that run one case again, as a report names it: `SEED:CASE`. Random choices are the same ones;
    /// threads, times and write ids are not.
    ///
    /// # Errors
    ///
    /// Why `text` names no case.
    pub fn reproduce(mut self, text: &str) -> Result<Self, String> {
        let (seed, name) =
            text.split_once(':').ok_or("SEED:CASE is needed, such as 0:get_missing_key_is_none")?;
        self.seed = seed.parse().map_err(|_| format!("the seed {seed:?} is not a number"))?;
        if cases().iter().all(|case| case.name != name) {
            return Err(format!("there is no case {name:?}; --list shows all names"));
        }
        self.exactly = Some(name.to_owned());
        Ok(self)
    }

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
        if let Some(name) = &self.exactly {
            let named: Vec<Case> = all.into_iter().filter(|case| case.name == name).collect();
            return if named.is_empty() { Err(name.clone()) } else { Ok(named) };
        }
        let is_meant =
            |case: &Case| self.only.is_empty() || self.only.iter().any(|word| case.name.contains(word));
        Ok(all.into_iter().filter(is_meant).collect())
    }
}
