//! A hundred swaps under 64 connections of reads and check-and-set writes, against the same load without a
//! swap: how long requests take that were under way within 200 ms of one.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use keyway_e2e::{load::Load, plugins::patched};
use serde_json::{Value, json};

use crate::server::{Server, programs};

const CLIENTS: usize = 64;
const SWAPS: u32 = 100;
/// Before and after a swap.
const NEAR: Duration = Duration::from_millis(200);
/// How long the load runs before it is measured, without a swap, and between two.
const WARM: Duration = Duration::from_secs(2);
const BASELINE: Duration = Duration::from_secs(20);
const BETWEEN: Duration = Duration::from_millis(600);
/// How much slower than the baseline's p99 a request may be.
const SLOWER: Duration = Duration::from_millis(50);

pub(crate) fn run() -> Result<()> {
    println!("swap: {SWAPS} swaps under {CLIENTS} connections, times of requests in ms");
    measure("sqlite", "path = \"keyway.db\"", |number| {
        let version = if number % 2 == 0 { "1.1.0" } else { "1.0.0" };
        json!({ "plugin": format!("sqlite@={version}") })
    })?;
    measure("memory", "", |_| json!({ "migrate": true }))
}

fn measure(plugin: &str, settings: &str, body: impl Fn(u32) -> Value) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = format!("libkeyway_{plugin}.so");
    let library = fs::read(programs()?.join(&file)).with_context(|| format!("read {file}"))?;
    let named = |version: &str| format!("\"name\":\"{plugin}\",\"version\":\"{version}\"");
    fs::write(directory.path().join(&file), &library)?;
    if plugin == "sqlite" {
        let newer = patched(&library, &named("1.0.0"), &named("1.1.0"));
        fs::write(directory.path().join("libkeyway_sqlite-1.1.0.so"), newer)?;
    }
    let server = Server::keyway(directory.path(), plugin, settings, "")?;
    server.ask("POST", "/v1/secret/config", "{\"max_versions\": 10}")?;
    let load = Load::begin(&format!("http://{}", server.address), &server.token, CLIENTS);
    thread::sleep(WARM);
    let begun = Instant::now();
    thread::sleep(BASELINE);
    let measured = begun.elapsed();
    let requests_before = load.requests();
    let mut swaps = Vec::new();
    for number in 0..SWAPS {
        let from = Instant::now();
        let swapped = server.ask("POST", "/v1/sys/backends/main/swap", &body(number).to_string())?;
        let waited =
            serde_json::from_str::<Value>(&swapped)?.pointer("/data/waited_ms").and_then(Value::as_u64);
        swaps.push((from, Instant::now(), waited.unwrap_or_default()));
        thread::sleep(BETWEEN);
    }
    let outcome = load.end();
    ensure!(outcome.failures.is_empty(), "requests have failed: {:?}", outcome.failures);
    let is_baseline = |end: &Instant| *end > begun && *end < begun + measured;
    let quiet: Vec<Duration> =
        outcome.times.iter().filter(|(end, _)| is_baseline(end)).map(|(_, took)| *took).collect();
    let is_near = |(end, took): &&(Instant, Duration)| {
        let start = *end - *took;
        swaps.iter().any(|(from, to, _)| *end + NEAR > *from && start < *to + NEAR)
    };
    let near: Vec<Duration> = outcome.times.iter().filter(is_near).map(|(_, took)| *took).collect();
    let (quiet, near) = (Sorted::of(quiet), Sorted::of(near));
    let bound = quiet.share(99) + SLOWER;
    let slower = near.0.iter().filter(|took| **took > bound).count();
    let held = Sorted::of(swaps.iter().map(|(_, _, waited)| Duration::from_millis(*waited)).collect());
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let a_second = requests_before as f64 / (WARM + measured).as_secs_f64();
    println!("  {plugin}: {a_second:.0} requests/s; {} requests, none failed", outcome.requests);
    println!(
        "    without a swap     p50 {:>6.1}  p99 {:>6.1}  most {:>6.1}",
        ms(quiet.share(50)),
        ms(quiet.share(99)),
        ms(quiet.most())
    );
    println!(
        "    within 200 ms      p50 {:>6.1}  p99 {:>6.1}  most {:>6.1}",
        ms(near.share(50)),
        ms(near.share(99)),
        ms(near.most())
    );
    println!(
        "    calls were held    p50 {:>6.1}  p99 {:>6.1}  most {:>6.1}",
        ms(held.share(50)),
        ms(held.share(99)),
        ms(held.most())
    );
    println!(
        "    slower than the baseline's p99 + 50 ms ({:.1}): {slower} of {} requests near a swap",
        ms(bound),
        near.0.len()
    );
    Ok(())
}

struct Sorted(Vec<Duration>);

impl Sorted {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that `percent` of 100 do not exceed.
    fn share(&self, percent: usize) -> Duration {
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(at).copied().unwrap_or_default()
    }

    fn most(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}
