//! What every storage backend must pass: the interface's promises as cases that run against an open backend.
//!
//! A case that tests a capability runs where the backend declares it; where it does not, another case checks that the
//! operation answers `Unsupported` and changes nothing. Each failure names the promise that broke.
//!
//! ```
//! fn test(opened: keyway_loader::Generation) {
//!     let report = keyway_conformance::run(opened);
//!     assert!(report.failures().is_empty(), "{report}");
//! }
//! ```

mod batch;
mod conditions;
mod crud;
mod expiry;
mod lifecycle;
mod scan;
mod streams;
mod transaction;
mod versions;

mod harness;
mod random;

use std::fmt;

use keyway_loader::{Capabilities, Generation};

pub use harness::{Broken, Harness};

/// One promise, as a test of it.
pub struct Case {
    /// `operation_condition_outcome`.
    pub name: &'static str,
    applies: fn(&Capabilities) -> bool,
    run: fn(&Harness) -> Result<(), Broken>,
}

/// What became of one case.
#[derive(Debug)]
pub enum Verdict {
    /// The promise is kept.
    Passed,
    /// The backend does not make this promise.
    NotDeclared,
    /// The promise is broken.
    Failed(Broken),
}

/// What became of all cases.
#[derive(Debug, Default)]
pub struct Report {
    cases: Vec<(&'static str, Verdict)>,
}

impl Report {
    /// The broken promises.
    pub fn failures(&self) -> Vec<(&'static str, &Broken)> {
        self.cases
            .iter()
            .filter_map(|(name, verdict)| match verdict {
                Verdict::Failed(broken) => Some((*name, broken)),
                Verdict::Passed | Verdict::NotDeclared => None,
            })
            .collect()
    }

    /// How many promises were tested and kept.
    pub fn passed(&self) -> usize {
        self.cases.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Passed)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, verdict) in &self.cases {
            match verdict {
                Verdict::Passed => writeln!(f, "ok            {name}")?,
                Verdict::NotDeclared => writeln!(f, "not declared  {name}")?,
                Verdict::Failed(broken) => writeln!(f, "BROKEN        {name}: {broken}")?,
            }
        }
        writeln!(f, "{} kept, {} broken", self.passed(), self.failures().len())
    }
}

/// All cases, in the order in which they run. The last ones close the backend.
pub fn cases() -> Vec<Case> {
    [
        crud::CASES,
        conditions::CASES,
        versions::CASES,
        expiry::CASES,
        scan::CASES,
        batch::CASES,
        transaction::CASES,
        streams::CASES,
        lifecycle::CASES,
    ]
    .into_iter()
    .flatten()
    .map(|case| Case { ..*case })
    .collect()
}

/// Runs every case against a freshly opened, empty backend, which is closed at the end.
pub fn run(backend: Generation) -> Report {
    let capabilities = backend.capabilities();
    let harness = Harness::new(backend);
    let mut report = Report::default();
    for case in cases() {
        let verdict = if !(case.applies)(&capabilities) {
            Verdict::NotDeclared
        } else {
            match (case.run)(&harness.in_keyspace_of(case.name)) {
                Ok(()) => Verdict::Passed,
                Err(broken) => Verdict::Failed(broken),
            }
        };
        report.cases.push((case.name, verdict));
    }
    report
}
