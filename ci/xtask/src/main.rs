//! The project's own commands.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its user")]

mod api;
mod bench;
mod compilers;
mod conform;
mod evolution;
mod guide;
mod node;
mod openbao;
mod process;
mod programs;
mod python;
mod run;
mod skipped;
mod suite;
mod template;
mod test;
mod tidy;
mod together;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  run              build everything in release mode, start a server on 127.0.0.1:8200 with its data under target/run
  test             everything that must pass: formatting, clippy, tidy, unit, doc, conformance and end-to-end tests
  conform [--full] [--write]
                   the conformance suite on every official plugin, against the table in docs/conformance.md, which --write writes;
                   --full runs all rounds on release builds: about three quarters of an hour
  variants         build what tests/compat/tests/evolution.rs loads, and say which variables name it
  template         make projects of the template for plugins, outside the workspace, and put them through everything
  guide [--cold]   type what docs/plugin-guide.md says; --cold builds all dependencies, as on an author's first day
  openbao          install the real OpenBao that tests/parity compares with, and print where it is
  api [--write]    compare the public items of the packages of authors with the files that list them, or write these
  tidy             the conventions that no other tool checks
  bench [NAME]     measure; without a name, everything (boundary, sqlite, loading, http, swap, postgres)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["run"] => run::run(),
        ["test"] => test::test(),
        ["tidy"] => tidy::tidy(),
        ["api"] => api::check(false),
        ["api", "--write"] => api::check(true),
        ["conform", words @ ..] => match conform::Wanted::of(words) {
            Some(wanted) => conform::conform(wanted),
            None => {
                eprint!("{USAGE}");
                return ExitCode::from(2);
            }
        },
        ["template"] => template::prove(),
        ["guide"] => guide::follow(false),
        ["guide", "--cold"] => guide::follow(true),
        ["variants"] => test::variants(),
        ["openbao"] => openbao::print(),
        ["bench", names @ ..] => bench::bench(names),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
