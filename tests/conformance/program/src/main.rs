//! `keyway-conform`: the conformance suite for any plugin file. `keyway plugin conform` runs it.

mod conform;

use std::process::ExitCode;

use clap::Parser;
use keyway_terminal::{Failure, output};

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == conform::CHILD_COMMAND) {
        return conform::child_main();
    }
    output::set_program("keyway-conform");
    match conform::conform(&conform::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Told { .. }) {
                output::warn(failure.message());
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
