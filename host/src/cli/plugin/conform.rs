//! `keyway plugin conform` and `keyway plugin bench`: run the conformance suite and its measurements, which are a
//! separate program.

use std::{
    env,
    ffi::OsString,
    io,
    path::PathBuf,
    process::{Command, ExitStatus},
};

use clap::Args;
use keyway_terminal::output::Format;

use crate::cli::failure::Failure;

/// The program with the suite.
const PROGRAM: &str = "keyway-conform";

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// What keyway-conform is given.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs the suite next to this program, or else in PATH. Its exit code is this command's.
pub(super) fn conform(arguments: Arguments, format: Format) -> Result<(), Failure> {
    run_program(None, arguments, format)
}

/// Runs its measurements.
pub(super) fn bench(arguments: Arguments, format: Format) -> Result<(), Failure> {
    run_program(Some("bench"), arguments, format)
}

fn run_program(command_word: Option<&str>, arguments: Arguments, format: Format) -> Result<(), Failure> {
    let program = next_to_this_program().unwrap_or_else(|| PROGRAM.into());
    let mut command = Command::new(&program);
    let says_json = arguments.arguments.iter().any(|argument| argument == "--json");
    command.args(command_word).args(arguments.arguments);
    if format == Format::Json && !says_json {
        command.arg("--json");
    }
    let status = run(&mut command).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::NotFound(format!(
            "the conformance suite is the program {PROGRAM}, which is neither next to this program nor in PATH; put it \
             into one of them"
        )),
        _ => Failure::Other(format!("run {}: {error}", program.display())),
    })?;
    match status.code() {
        Some(0) => Ok(()),
        // It has said why.
        Some(code) => Err(Failure::Told { exit_code: u8::try_from(code).unwrap_or(1) }),
        None => Err(Failure::Other(format!("{PROGRAM} ended with {status}"))),
    }
}

/// Becomes the program, so that signals reach it and nothing else.
#[cfg(unix)]
fn run(command: &mut Command) -> io::Result<ExitStatus> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

#[cfg(not(unix))]
fn run(command: &mut Command) -> io::Result<ExitStatus> {
    command.status()
}

/// The program in the directory of this one.
fn next_to_this_program() -> Option<PathBuf> {
    let program = env::current_exe().ok()?.with_file_name(format!("{PROGRAM}{}", env::consts::EXE_SUFFIX));
    program.is_file().then_some(program)
}
