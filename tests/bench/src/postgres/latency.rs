//! How long calls take when they come at 70 % of the rate that `pgbench` reaches, at random times. What comes
//! late because the one before it was late counts from when it should have come, on both sides.

use std::{
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use keyway_loader::Generation;
use keyway_private_postgres::Server;
use tokio::runtime::Runtime;

use super::load::{CLIENTS, ROUND, Work, call, pgbench, value};

/// Which part of the full rate.
const SHARE: f64 = 0.7;
const ROUNDS: usize = 3;

/// Prints one line for each kind of call. `full` is the rate of `pgbench`.
pub(super) fn run(
    server: &Server,
    runtime: &Runtime,
    store: &Arc<Generation>,
    (name, script, work): (&str, &Path, Work),
    full: f64,
) -> Result<()> {
    let rate = full * SHARE;
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(p99(&mut by_pgbench(server, script, rate)?)?);
        ours.push(p99(&mut by_plugin(runtime, store, work, rate)?)?);
    }
    theirs.sort_by(f64::total_cmp);
    ours.sort_by(f64::total_cmp);
    let middle = |all: &[f64]| all.get(ROUNDS / 2).copied().unwrap_or(f64::NAN);
    let (base, own) = (middle(&theirs), middle(&ours));
    println!("{:<18} {base:>26.2} {own:>26.2} {:>7.2}", format!("{name}, {rate:.0}/s"), own / base);
    Ok(())
}

/// Milliseconds.
fn p99(times: &mut [Duration]) -> Result<f64> {
    times.sort_unstable();
    let at = times.len() * 99 / 100;
    Ok(times.get(at).context("nothing was measured")?.as_secs_f64() * 1e3)
}

fn by_pgbench(server: &Server, script: &Path, rate: f64) -> Result<Vec<Duration>> {
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("log");
    let log = log.to_str().context("a Unicode path")?;
    pgbench(server, script, CLIENTS, &["-R", &format!("{rate:.0}"), "-l", "--log-prefix", log])?;
    let mut times = Vec::new();
    for file in fs::read_dir(directory.path())? {
        for line in fs::read_to_string(file?.path())?.lines() {
            // The third column is the time from when it should have begun, in microseconds.
            let took: u64 =
                line.split(' ').nth(2).and_then(|took| took.parse().ok()).context("a line of the log")?;
            times.push(Duration::from_micros(took));
        }
    }
    Ok(times)
}

fn by_plugin(runtime: &Runtime, store: &Arc<Generation>, work: Work, rate: f64) -> Result<Vec<Duration>> {
    let mean = CLIENTS as f64 / rate;
    let begun = Instant::now();
    // Threads, because their clock is finer than a runtime's.
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (store, handle) = (Arc::clone(store), runtime.handle().clone());
            thread::spawn(move || -> Result<Vec<Duration>> {
                let value = value();
                let (mut times, mut n, mut at) = (Vec::new(), client as u32 * 7_919 + 1, Duration::ZERO);
                loop {
                    n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let chance = (f64::from(n >> 8) + 1.0) / f64::from(1 << 24);
                    at += Duration::from_secs_f64(-chance.ln() * mean);
                    if at > ROUND {
                        return Ok(times);
                    }
                    thread::sleep(at.saturating_sub(begun.elapsed()));
                    handle.block_on(call(&store, work, n, &value))?;
                    times.push(begun.elapsed().saturating_sub(at));
                }
            })
        })
        .collect();
    let mut times = Vec::new();
    for client in clients {
        let done = client.join();
        let Ok(done) = done else { anyhow::bail!("a client panicked") };
        times.extend(done?);
    }
    ensure!(!times.is_empty(), "nothing was measured");
    Ok(times)
}
