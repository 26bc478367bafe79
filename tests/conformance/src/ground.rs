//! The setting of a case: what it tests, in which directory, with which seed and for how long.

use std::{path::Path, time::Duration};

use crate::{process::Program, subject::Subject, verdict::Effort};

/// Where and how cases run.
pub(crate) struct Ground<'a> {
    pub(crate) subject: &'a Subject,
    /// What another process makes the same subject of.
    pub(crate) subject_order: &'a serde_json::Value,
    pub(crate) data_dir: &'a Path,
    pub(crate) seed: u64,
    pub(crate) effort: Effort,
    /// How long the case may take.
    pub(crate) deadline: Duration,
    /// Starts processes; none if all cases run in this one.
    pub(crate) program: Option<&'a Program>,
}
