//! Pieces of work that a case has other processes do.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::Mutex,
};

use super::workplace::Workplace;
use crate::{ground::Ground, verdict::Stop};

type Work = fn(&Workplace<'_>) -> Result<(), Stop>;

const WORKS: &[(&str, Work)] = &[
    ("increment", super::conditions::work_increments),
    ("write", super::durability::work_writes),
    ("restore", super::durability::work_restores),
];

/// Does the work of that name.
pub(crate) fn run(name: &str, number: u64, ground: &Ground<'_>, journal: &Path) -> ExitCode {
    let done = || -> Result<(), String> {
        let (_, work) = WORKS.iter().find(|(work, _)| *work == name).ok_or("there is no such work")?;
        let journal = OpenOptions::new().create(true).append(true).open(journal);
        let journal = Mutex::new(journal.map_err(|error| format!("open the journal: {error}"))?);
        let store = ground.subject.open(ground.data_dir)?;
        let place = Workplace { store, ground, number, journal };
        work(&place).map_err(|stop| match stop {
            Stop::Broken(text) | Stop::Misread(text) | Stop::Unproved(text) | Stop::Conflict(text) => text,
        })
    };
    match done() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // To the log that its case quotes.
            let _unheard = writeln!(io::stderr(), "{reason}");
            ExitCode::FAILURE
        }
    }
}
