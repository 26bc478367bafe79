//! Child processes: the program that starts them, their orders, their time, and their work.

pub(crate) mod order;
pub(crate) mod watch;
pub(crate) mod worker;

use std::{ffi::OsString, io, path::PathBuf};

use keyway_loader::probe;
use serde::{Deserialize, Serialize};

/// A program that ends in [`child::main`](crate::suite::child::main) if it is started with these arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// The arguments that make it do so.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// This program.
    ///
    /// # Errors
    ///
    /// If it does not know its own file.
    pub fn this(arguments: Vec<OsString>) -> io::Result<Self> {
        Ok(Self { path: probe::own_program()?, arguments })
    }
}
