//! The tools of a process that works with a case's store: the open store, its number, its journal.

use std::{
    fs::File,
    io::{self, Write as _},
    sync::Mutex,
};

use keyway_loader::Generation;

use crate::ground::Ground;

/// What a process has at hand that works with a case's store.
pub(crate) struct Workplace<'a> {
    pub(crate) store: Generation,
    pub(crate) ground: &'a Ground<'a>,
    /// Tells several workers of one case apart.
    pub(crate) number: u64,
    pub(crate) journal: Mutex<File>,
}

impl Workplace<'_> {
    /// Writes a line that outlives this process, however it ends.
    pub(crate) fn tell(&self, line: &str) -> io::Result<()> {
        let mut journal = self.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        journal.write_all(format!("{line}\n").as_bytes())
    }
}
