//! `keyway-conform`: the conformance suite for any plugin file, and measurements of it. `keyway plugin conform` and
//! `keyway plugin bench` run it.

mod bench;
mod conform;
mod settings;

use std::{
    env,
    ffi::{OsStr, OsString},
    process::ExitCode,
};

use clap::Parser;
use keyway_terminal::{Failure, output};

fn main() -> ExitCode {
    let mut words: Vec<OsString> = env::args_os().collect();
    let first = words.get(1).map(OsString::as_os_str);
    if first == Some(OsStr::new(conform::CHILD_COMMAND)) {
        return conform::child_main();
    }
    output::set_program("keyway-conform");
    let done = if first == Some(OsStr::new(bench::COMMAND)) {
        words.remove(1);
        bench::bench(&bench::Arguments::parse_from(words))
    } else {
        conform::conform(&conform::Arguments::parse_from(words))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Told { .. }) {
                output::warn(failure.message());
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
