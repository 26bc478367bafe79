//! The load: calls of the plugin from many clients, and the same statements by `pgbench`.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use keyway_loader::{CallContext, Generation, Key, Put};
use keyway_private_postgres::Server;
use tokio::runtime::Runtime;

pub(super) const KEYSPACE: &str = "bench";
pub(super) const KEYS: u32 = 10_000;
pub(super) const VALUE_BYTES: usize = 1_024;
pub(super) const CLIENTS: usize = 64;
pub(super) const ROUND: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
pub(super) enum Work {
    Get,
    Put,
}

pub(super) fn value() -> Vec<u8> {
    (0..VALUE_BYTES).map(|n| (n * 31 % 251) as u8).collect()
}

pub(super) fn key(n: u32) -> [u8; 4] {
    n.to_be_bytes()
}

/// Calls a second.
pub(super) fn pgbench(server: &Server, script: &Path, clients: usize, more: &[&str]) -> Result<f64> {
    let mut pgbench = Command::new(server.binaries().program("pgbench"));
    pgbench.args(["-n", "-M", "prepared", "-U", "admin", "-j", "2"]).arg("-h").arg(server.socket());
    pgbench.args([
        "-p",
        &server.port().to_string(),
        "-c",
        &clients.to_string(),
        "-T",
        &ROUND.as_secs().to_string(),
    ]);
    let output =
        pgbench.args(more).arg("-f").arg(script).arg("postgres").output().context("start pgbench")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    let rate =
        text.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok());
    rate.with_context(|| format!("pgbench says no rate: {text}"))
}

/// Calls a second, with one task for each client.
pub(super) fn drive(runtime: &Runtime, store: &Arc<Generation>, work: Work, clients: usize) -> Result<f64> {
    let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (store, over, calls) = (Arc::clone(store), Arc::clone(&over), Arc::clone(&calls));
            runtime.spawn(async move {
                let (mut n, value) = (client as u32 * 7_919, value());
                while !over.load(Ordering::Relaxed) {
                    n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    call(&store, work, n, &value).await?;
                    calls.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    std::thread::sleep(ROUND);
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        runtime.block_on(task)??;
    }
    Ok(calls.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

/// One call, for a key that the random number chooses.
pub(super) async fn call(store: &Generation, work: Work, random: u32, value: &[u8]) -> Result<()> {
    let (key, call) = (key((random >> 8) % KEYS), CallContext::background());
    match work {
        Work::Get => {
            let found = store.get(&call, Key::new(KEYSPACE, &key)).await?;
            ensure!(found.is_some(), "a record is there");
        }
        Work::Put => {
            store.put(&call, Put::new(Key::new(KEYSPACE, &key), value)).await?;
        }
    }
    Ok(())
}
