//! What the PostgreSQL plugin adds to PostgreSQL: the library as it ships against `pgbench` with the same
//! statements, prepared, over the same Unix socket, with as many connections.
//!
//! [`latency`] is how long calls take below the full rate, [`archives`] what backing up and restoring takes.
//!
//! `pgbench` sends the key as a number and has the value in its statement: it puts fewer bytes on the wire.

mod archives;
mod latency;
mod load;

use std::{sync::Arc, time::Instant};

use anyhow::{Result, ensure};
use keyway_loader::{Batch, BatchMode, CallContext, Generation, Key, Op, Scan, WriteId};
use keyway_private_postgres::{Options, Server};
use tokio::runtime::Runtime;

use self::load::{CLIENTS, KEYS, KEYSPACE, VALUE_BYTES, Work, drive, key, pgbench, value};
use crate::plugin;

const MANY: u32 = 1_000_000;
const ROUNDS: usize = 9;

/// Prints one line for each measurement.
pub(crate) fn run() -> Result<()> {
    let settings = ["max_connections=200", "shared_buffers=512MB", "max_wal_size=4GB", "autovacuum=off"];
    let server = Server::start(&Options { settings: &settings, ..Options::default() })?;
    let directory = tempfile::tempdir()?;
    let config = serde_json::json!({ "url": server.url(), "connections": CLIENTS });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = Arc::new(plugin::open("postgres", config, directory.path())?);
    fill(&runtime, &store, KEYSPACE, KEYS, &value())?;
    server.sql("VACUUM ANALYZE")?;
    println!(
        "{KEYS} records of {VALUE_BYTES} bytes, {CLIENTS} clients, as many connections; calls a second: median (lowest to highest)"
    );
    println!("{:<18} {:>26} {:>26} {:>7}", "", "pgbench", "plugin", "ratio");
    let mut full = Vec::new();
    for (name, sql, work) in [("get", get_sql(), Work::Get), ("put", put_sql(), Work::Put)] {
        for clients in [CLIENTS, 1] {
            let script = directory.path().join(format!("{name}.sql"));
            std::fs::write(&script, &sql)?;
            let (mut theirs, mut ours) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                theirs.push(pgbench(&server, &script, clients, &[])?);
                ours.push(drive(&runtime, &store, work, clients)?);
            }
            let base = report(&format!("{name}, {clients} clients"), theirs, ours, clients == 1);
            if clients == CLIENTS {
                full.push((name, script, work, base));
            }
        }
    }
    println!("99th percentile, ms, at 70 % of pgbench's rate");
    for (name, script, work, rate) in &full {
        latency::run(&server, &runtime, &store, (name, script, *work), *rate)?;
    }
    pages(&runtime, &store, &server)?;
    archives::run(&server, &runtime, &store, u64::from(MANY + 2 * KEYS), directory.path())
}

/// The plugin's statements, with the key made from a number.
const KEY: &str = "int4send((:n)::int)";

fn get_sql() -> String {
    format!(
        "\\set n random(0, {})\nSELECT r.version, r.expires_at_ms, r.value FROM keyway.records r WHERE r.space = \
         (SELECT s.id FROM keyway.spaces s WHERE s.name = '{KEYSPACE}') AND r.key = {KEY} AND \
         (r.expires_at_ms IS NULL OR r.expires_at_ms > keyway.moment());\n",
        KEYS - 1
    )
}

fn put_sql() -> String {
    let hex: String = value().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "\\set n random(0, {})\nINSERT INTO keyway.records AS r (space, key, version, expires_at_ms, value) \
         SELECT s.id, {KEY}, nextval('keyway.numbers'), NULL, '\\x{hex}'::bytea FROM keyway.spaces s WHERE s.name = '{KEYSPACE}' \
         ON CONFLICT (space, key) DO UPDATE SET version = excluded.version, expires_at_ms = excluded.expires_at_ms, \
         value = excluded.value RETURNING r.version;\n",
        KEYS - 1
    )
}

/// Answers the middle of `theirs`.
fn report(name: &str, mut theirs: Vec<f64>, mut ours: Vec<f64>, is_alone: bool) -> f64 {
    let middle = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        let at = |place: usize| rates.get(place).copied().unwrap_or(f64::NAN);
        (at(ROUNDS / 2), format!("{:.0} ({:.0} to {:.0})", at(ROUNDS / 2), at(0), at(ROUNDS - 1)))
    };
    let ((base, base_text), (own, own_text)) = (middle(&mut theirs), middle(&mut ours));
    println!("{name:<18} {base_text:>26} {own_text:>26} {:>7.2}", own / base);
    if is_alone {
        println!("{:<18} {:.1} µs a call more than pgbench", "", 1e6 / own - 1e6 / base);
    }
    base
}

fn fill(runtime: &Runtime, store: &Generation, keyspace: &str, keys: u32, value: &[u8]) -> Result<()> {
    for chunk in (0..keys).collect::<Vec<_>>().chunks(1_000) {
        let keys: Vec<[u8; 4]> = chunk.iter().map(|n| key(*n)).collect();
        let ops: Vec<_> = keys.iter().map(|key| Op::put(Key::new(keyspace, key), value)).collect();
        let batch = Batch::new(&ops, BatchMode::Atomic, WriteId::default());
        runtime.block_on(async { store.apply(&CallContext::background(), batch).await })?;
    }
    Ok(())
}

/// What a page costs in a small keyspace and in a large one.
fn pages(runtime: &Runtime, store: &Generation, server: &Server) -> Result<()> {
    fill(runtime, store, "few", KEYS, b"v")?;
    fill(runtime, store, "many", MANY, b"v")?;
    server.sql("VACUUM ANALYZE")?;
    println!("pages of 100 keys, µs each");
    for (keyspace, keys) in [("few", KEYS), ("many", MANY), ("few", KEYS), ("many", MANY)] {
        let begun = Instant::now();
        let rounds = 2_000;
        for round in 0..rounds {
            let start = key(round * 7_919 % (keys - 200));
            let scan = Scan::range(keyspace, &start, None).with_max_items(100);
            let page = runtime.block_on(async { store.scan(&CallContext::background(), scan).await })?;
            ensure!(page.entries().len() == 100, "a page is full");
        }
        println!("{keys:>18} keys: {:.1}", begun.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
    }
    Ok(())
}
