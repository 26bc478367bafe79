//! Pieces of work that a case has other processes do.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::Mutex,
};

use keyway_loader::Generation;

use crate::{case::Stop, harness::Ground};

/// What a process has at hand that works with a case's store.
pub(crate) struct Workplace<'a> {
    pub(crate) store: Generation,
    pub(crate) ground: &'a Ground<'a>,
    /// Tells several workers of one case apart.
    pub(crate) number: u64,
    journal: Mutex<File>,
}

impl Workplace<'_> {
    /// Writes a line that outlives this process, however it ends.
    pub(crate) fn tell(&self, line: &str) -> io::Result<()> {
        let mut journal = self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        journal.write_all(format!("{line}\n").as_bytes())
    }
}

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
            Stop::Broken(text) | Stop::Unproved(text) | Stop::Conflict(text) => text,
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
