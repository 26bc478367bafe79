//! `cargo xtask bench`: each measurement against a baseline that runs in the same process, in turns, on the
//! same bytes.
//!
//! [`boundary`] measures the cost of the plugin boundary against [`baseline`], an `Arc<dyn async_trait>` in
//! the same binary. [`sqlite`] measures the SQLite plugin against plain rusqlite, and [`postgres`] the
//! PostgreSQL plugin against `pgbench`. [`loading`] measures the time until a plugin is open, [`http`] whole
//! servers with and without audit, and [`swap`] the effect of a swap on requests. [`server`] starts the
//! servers, [`plugin`] loads the plugin under test, [`allocations`] counts the allocations of the host, and
//! [`rounds`] runs every measurement.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its user")]

mod allocations;
mod baseline;
mod boundary;
mod http;
mod loading;
mod plugin;
mod postgres;
mod rounds;
mod server;
mod sqlite;
mod swap;

use std::process::ExitCode;

use keyway_loader::probe;

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    // This program starts itself for some measurements.
    match names.split_first() {
        Some((first, rest)) if first == loading::PROBE => {
            return probe::child::main(&rest.iter().map(Into::into).collect::<Vec<_>>());
        }
        Some((first, rest)) if first == loading::CHILD => {
            return loading::child(rest).map_or_else(failed, |()| ExitCode::SUCCESS);
        }
        Some((first, rest)) if first == http::BASELINE => {
            return http::baseline(rest).map_or_else(failed, |()| ExitCode::SUCCESS);
        }
        _ => {}
    }
    for name in if names.is_empty() {
        ["boundary", "sqlite", "loading", "http", "swap", "postgres"].map(str::to_owned).to_vec()
    } else {
        names
    } {
        let done = match name.as_str() {
            "boundary" => boundary::run(),
            "sqlite" => sqlite::run(),
            "loading" => loading::run(),
            "http" => http::run(),
            "swap" => swap::run(),
            "postgres" => postgres::run(),
            other => {
                eprintln!(
                    "there is no benchmark {other:?}; there are: boundary, sqlite, loading, http, swap, postgres"
                );
                return ExitCode::from(2);
            }
        };
        if let Err(error) = done {
            eprintln!("bench {name}: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn failed(error: anyhow::Error) -> ExitCode {
    eprintln!("{error:#}");
    ExitCode::FAILURE
}
