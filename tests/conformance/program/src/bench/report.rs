//! What was measured, for people and for programs.

use std::{sync::atomic::AtomicUsize, thread, time::Duration};

use keyway_terminal::output::table;
use serde::Serialize;

use super::{
    contender::{Contender, RECORDS, VALUE_BYTES},
    meter::{Round, measure},
    work::Work,
};

/// A reply may be ready at once if its work took no longer (`docs/storage-interface.md`).
const AT_ONCE_US: f64 = 50.0;
/// So much of a turn, or of all processors, explains the rest.
const MOST: f64 = 0.6;

/// The whole result.
#[derive(Serialize)]
pub(super) struct Comparison {
    /// The plugin first, then what it is compared with.
    contenders: Vec<Measured>,
    rounds: usize,
    round_ms: u64,
    records: usize,
    value_bytes: usize,
    processors: usize,
    pub(super) rows: Vec<Row>,
}

/// What was measured.
#[derive(Serialize)]
struct Measured {
    name: String,
    version: String,
    profile: String,
}

/// One kind of work with one number of callers.
#[derive(Serialize)]
pub(super) struct Row {
    work: &'static str,
    callers: usize,
    /// In the order of the contenders.
    results: Vec<Outcome>,
}

/// What became of one measurement.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Measured(Box<Figures>),
    /// The backend does not offer it.
    NotOffered,
    /// An operation failed: why.
    Failed(String),
}

/// Medians over rounds; the rest over all turns of all rounds.
#[derive(Serialize)]
struct Figures {
    turns_per_s: f64,
    slowest_round_per_s: f64,
    fastest_round_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    /// Of a turn, on the thread of its caller before the reply was waited for.
    in_calls_us: f64,
    /// Of a turn, after that.
    waiting_us: f64,
    /// Of all threads of the process, for each turn.
    processor_us: f64,
    /// The part of all processors' time that the process had.
    busy: f64,
    /// For each turn; null where the system does not count it.
    written_bytes: Option<f64>,
    /// Turns that were refused for a conflict or a limit and were tried again, for each that succeeded.
    retries: f64,
}

impl Comparison {
    pub(super) fn of(contenders: &[Contender], rounds: usize, round: Duration) -> Self {
        let measured = contenders.iter().map(|contender| Measured {
            name: contender.name.clone(),
            version: contender.version.clone(),
            profile: contender.profile.clone(),
        });
        Self {
            contenders: measured.collect(),
            rounds,
            round_ms: u64::try_from(round.as_millis()).unwrap_or(u64::MAX),
            records: RECORDS,
            value_bytes: VALUE_BYTES,
            processors: processors(),
            rows: Vec::new(),
        }
    }

    /// What stands above the lines.
    pub(super) fn heading(&self) -> String {
        let names: Vec<String> = self
            .contenders
            .iter()
            .map(|measured| format!("{} {} ({})", measured.name, measured.version, measured.profile))
            .collect();
        let debug = self.contenders.iter().any(|measured| measured.profile == "debug");
        let note = if debug { "A debug build is several times slower than what is shipped.\n" } else { "" };
        let columns: String =
            self.contenders.iter().map(|measured| format!("{:>20}", measured.name)).collect();
        format!(
            "{}\n{note}{} records of {} bytes, {} processors; turns a second, median of {} rounds of {} ms in turns\n\n{:<24}{:>8}{columns}\n",
            names.join(", "),
            self.records,
            self.value_bytes,
            self.processors,
            self.rounds,
            self.round_ms,
            "",
            "callers",
        )
    }

    /// Where the plugin's time goes.
    pub(super) fn times(&self) -> String {
        let heading = [
            "of one turn",
            "callers",
            "half within",
            "99 % within",
            "in calls",
            "waiting",
            "processor",
            "written",
            "",
        ];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for row in &self.rows {
            if let Some(Outcome::Measured(figures)) = row.results.first() {
                let written = figures
                    .written_bytes
                    .map_or("?".to_owned(), |bytes| format!("{:.1} KiB", bytes / 1024.0));
                let mut cells = vec![row.work.to_owned(), row.callers.to_string()];
                let times = [
                    figures.p50_us,
                    figures.p99_us,
                    figures.in_calls_us,
                    figures.waiting_us,
                    figures.processor_us,
                ];
                cells.extend(times.map(micros));
                cells.extend([written, figures.in_words()]);
                rows.push(cells);
            }
        }
        let Some(plugin) = self.contenders.first() else { return String::new() };
        if rows.len() == 1 {
            return String::new();
        }
        format!("\nWhere the time of {} goes\n\n{}", plugin.name, table(&rows))
    }

    /// How many measurements failed.
    pub(super) fn failures(&self) -> usize {
        let outcomes = self.rows.iter().flat_map(|row| &row.results);
        outcomes.filter(|outcome| matches!(outcome, Outcome::Failed(_))).count()
    }
}

impl Row {
    /// Measures the contenders in turns: machines are noisy, and what disturbs one should disturb the others. The first
    /// round warms up and does not count.
    pub(super) fn measure(
        work: &'static Work,
        callers: usize,
        contenders: &[Contender],
        rounds: usize,
        round: Duration,
    ) -> Self {
        let turns = AtomicUsize::new(0);
        let mut measured: Vec<Result<Vec<Round>, Outcome>> = contenders
            .iter()
            .map(
                |contender| {
                    if (work.is_offered)(contender) { Ok(Vec::new()) } else { Err(Outcome::NotOffered) }
                },
            )
            .collect();
        for number in 0..=rounds {
            for (contender, measured) in contenders.iter().zip(&mut measured) {
                let Ok(so_far) = measured else { continue };
                match measure(work, contender, callers, round, &turns) {
                    Ok(done) if number > 0 => so_far.push(done),
                    Ok(_) => {}
                    Err(error) => *measured = Err(Outcome::Failed(error.to_string())),
                }
            }
        }
        let results = measured.into_iter().map(|measured| match measured {
            Ok(rounds) => Outcome::Measured(Box::new(Figures::of(rounds))),
            Err(outcome) => outcome,
        });
        Self { work: work.name, callers, results: results.collect() }
    }

    /// One line: the rates, and how many times the plugin's each of the others is.
    pub(super) fn line(&self) -> String {
        let rate = |outcome: Option<&Outcome>| match outcome {
            Some(Outcome::Measured(figures)) => Some(figures.turns_per_s),
            _ => None,
        };
        let own = rate(self.results.first());
        let cells = self.results.iter().enumerate().map(|(place, outcome)| match outcome {
            Outcome::Measured(figures) => match own.filter(|own| place > 0 && *own > 0.0) {
                Some(own) => format!("{:.0} ({:.2} ×)", figures.turns_per_s, figures.turns_per_s / own),
                None => format!("{:.0}", figures.turns_per_s),
            },
            Outcome::NotOffered => "not offered".to_owned(),
            Outcome::Failed(_) => "FAILED".to_owned(),
        });
        let cells: String = cells.map(|cell| format!("{cell:>20}")).collect();
        let failed = self.results.iter().filter_map(|outcome| match outcome {
            Outcome::Failed(why) => Some(format!("    FAILED: {why}\n")),
            _ => None,
        });
        format!("{:<24}{:>8}{cells}\n{}", self.work, self.callers, failed.collect::<String>())
    }
}

impl Figures {
    fn of(rounds: Vec<Round>) -> Self {
        let mut rates: Vec<f64> =
            rounds.iter().map(|round| round.latencies_ns.len() as f64 / round.wall.as_secs_f64()).collect();
        rates.sort_by(f64::total_cmp);
        let mut latencies: Vec<u64> =
            rounds.iter().flat_map(|round| round.latencies_ns.iter().copied()).collect();
        latencies.sort_unstable();
        let turns = (latencies.len() as f64).max(1.0);
        let us = |total: Duration| total.as_secs_f64() * 1e6 / turns;
        let sum = |part: fn(&Round) -> Duration| rounds.iter().map(part).sum::<Duration>();
        let at = |part: f64| latencies.get((turns * part) as usize).map_or(0.0, |ns| *ns as f64 / 1e3);
        let whole_us = latencies.iter().map(|ns| *ns as f64).sum::<f64>() / 1e3 / turns;
        let in_calls_us = us(sum(|round| round.in_calls));
        let wall = sum(|round| round.wall).as_secs_f64();
        let written: Option<u64> = rounds.iter().map(|round| round.written_bytes).sum();
        Self {
            turns_per_s: rates.get(rates.len() / 2).copied().unwrap_or(0.0),
            slowest_round_per_s: rates.first().copied().unwrap_or(0.0),
            fastest_round_per_s: rates.last().copied().unwrap_or(0.0),
            p50_us: at(0.5),
            p99_us: at(0.99),
            in_calls_us,
            waiting_us: (whole_us - in_calls_us).max(0.0),
            processor_us: us(sum(|round| round.processor)),
            busy: sum(|round| round.processor).as_secs_f64() / wall / processors() as f64,
            written_bytes: written.map(|bytes| bytes as f64 / turns),
            retries: rounds.iter().map(|round| round.retries as f64).sum::<f64>() / turns,
        }
    }

    /// What the figures say.
    fn in_words(&self) -> String {
        let whole = self.in_calls_us + self.waiting_us;
        // Busy processors make every call last.
        let mut words = if self.busy > MOST {
            "the processors are busy".to_owned()
        } else if self.in_calls_us > MOST * whole && self.in_calls_us > AT_ONCE_US {
            "the call keeps its caller's thread: answer later, from another one".to_owned()
        } else if self.in_calls_us > MOST * whole {
            "computed in the call".to_owned()
        } else if self.processor_us > MOST * whole {
            "computed on threads of the plugin".to_owned()
        } else if self.written_bytes.is_some_and(|bytes| bytes >= 1.0) {
            "waits: its disk is written".to_owned()
        } else {
            "waits: for a thread, a lock, a disk that is read, or a network".to_owned()
        };
        if self.retries > 0.01 {
            words += &format!("; {:.2} retries a turn", self.retries);
        }
        words
    }
}

fn micros(us: f64) -> String {
    if us < 10.0 {
        format!("{us:.2} µs")
    } else if us < 10_000.0 {
        format!("{us:.0} µs")
    } else {
        format!("{:.1} ms", us / 1e3)
    }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
