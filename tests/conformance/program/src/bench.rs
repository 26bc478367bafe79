//! `keyway plugin bench`: a plugin compared with the memory backend and SQLite, on the same work.

mod contender;
mod meter;
mod report;
mod work;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use clap::Parser;
use keyway_terminal::{
    Failure,
    output::{Format, print, say, warn},
};
use tempfile::TempDir;

use crate::{conform::stop_on_signals, settings};
use contender::Contender;
use report::{Comparison, Row};
use work::{WORKS, Work};

/// The argument that asks for this.
pub(crate) const COMMAND: &str = "bench";
/// What a plugin is compared with, if it is found.
const REFERENCES: [(&str, &str); 2] = [("memory", "{}"), ("sqlite", r#"{"path":"bench.db"}"#)];
/// Callers at a time: the time of a single call, and what happens when many of them meet.
const CALLERS: [usize; 2] = [1, 64];

/// Compares a plugin file with the memory backend and SQLite, on the same work, with one caller and with 64, and says
/// where the time of its calls goes. Measure a release build. Exit codes: 0 measured, 1 error, 2 usage, 4 not found, 5
/// an operation failed.
#[derive(Debug, Parser)]
#[command(name = "keyway plugin bench")]
pub(crate) struct Arguments {
    /// The library file. Its code is run, whatever the trust policy.
    file: PathBuf,
    /// The backend's settings as JSON; @FILE reads them from a file, @- from standard input. Relative paths lie in a
    /// temporary directory; to measure a certain disk, give an absolute one, or set TMPDIR for all that are compared.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    config: String,
    /// Where the libraries of the memory backend and of SQLite are; without it, KEYWAY_PLUGIN_PATH,
    /// /usr/lib/keyway/plugins, and the directory of this program with its directory plugins. May be repeated.
    #[arg(long, value_name = "DIR")]
    plugin_dir: Vec<PathBuf>,
    /// Only work whose name contains this. May be repeated.
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
    /// Rounds of each measurement; the median counts. One more round is run before them, for warmth.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How long each round lasts, in milliseconds.
    #[arg(long, default_value_t = 200, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    round_ms: u64,
    /// How to print the result.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// The same as --format json.
    #[arg(long)]
    json: bool,
}

pub(crate) fn bench(arguments: &Arguments) -> Result<(), Failure> {
    let format = if arguments.json { Format::Json } else { arguments.format };
    let works = selected(&arguments.only)?;
    let directory = TempDir::with_prefix("keyway-bench-")
        .map_err(|error| Failure::Other(format!("make a temporary directory: {error}")))?;
    let mut contenders = vec![Contender::open(
        "plugin",
        &arguments.file,
        settings::read(&arguments.config)?,
        directory.path(),
    )?];
    for (name, config) in REFERENCES {
        match contender::find(name, &arguments.plugin_dir) {
            Some(file) => match Contender::open(name, &file, settings::read(config)?, directory.path()) {
                Ok(reference) => contenders.push(reference),
                Err(failure) => warn(&format!("not compared with {name}: {}", failure.message())),
            },
            None => warn(&format!(
                "not compared with {name}: its library is in none of the directories that are searched; --plugin-dir names another"
            )),
        }
    }
    let round = Duration::from_millis(arguments.round_ms);
    let mut comparison = Comparison::of(&contenders, usize::from(arguments.rounds), round);
    if format == Format::Table {
        say(&comparison.heading())?;
    }
    let stop = Arc::default();
    stop_on_signals(&stop)?;
    for work in works {
        for callers in CALLERS.into_iter().filter(|callers| *callers == 1 || work.is_for_many) {
            if stop.load(Ordering::Relaxed) {
                return Err(Failure::Other("the measurement was stopped before its end".to_owned()));
            }
            let row = Row::measure(work, callers, &contenders, usize::from(arguments.rounds), round);
            if format == Format::Table {
                say(&row.line())?;
            }
            comparison.rows.push(row);
        }
    }
    drop(contenders);
    print(format, &comparison, || comparison.times())?;
    match comparison.failures() {
        0 => Ok(()),
        1 => Err(Failure::Refused("one measurement failed".to_owned())),
        count => Err(Failure::Refused(format!("{count} measurements failed"))),
    }
}

fn selected(only: &[String]) -> Result<Vec<&'static Work>, Failure> {
    if let Some(word) = only.iter().find(|word| WORKS.iter().all(|work| !work.name.contains(word.as_str()))) {
        let names: Vec<&str> = WORKS.iter().map(|work| work.name).collect();
        return Err(Failure::Usage(format!(
            "no work has {word:?} in its name; there are: {}",
            names.join(", ")
        )));
    }
    let is_meant =
        |work: &&Work| only.is_empty() || only.iter().any(|word| work.name.contains(word.as_str()));
    Ok(WORKS.iter().filter(is_meant).collect())
}
