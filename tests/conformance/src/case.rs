//! One promise, and the test of it.

use std::{fmt, time::Duration};

use keyway_loader::Capabilities;

use crate::{
    Harness,
    verdict::{Effort, Outcomes},
};

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
