//! The cost of the plugin boundary: the memory plugin, loaded from its library, against the same map in an
//! `Arc<dyn async_trait>`.

use std::{hint::black_box, sync::Arc};

use anyhow::Result;
use futures_executor::block_on;
use keyway_loader::{Batch, BatchMode, CallContext, Delete, Generation, Key, Op, Put, Scan, WriteId};

use crate::{
    allocations,
    baseline::{InProcess, Storage},
    plugin,
    rounds::{Spread, in_turns},
};

const KEYSPACE: &str = "bench";
const KEYS: u32 = 10_000;
const VALUE_BYTES: usize = 1024;
const MANY: u32 = 16;
const BATCH: u32 = 16;

/// Prints one line for each operation.
pub(crate) fn run() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let plugin = plugin::open("memory", serde_json::json!({}), directory.path())?;
    let baseline: Arc<dyn Storage> = Arc::new(InProcess::default());
    let keys: Vec<Vec<u8>> =
        (0..KEYS).map(|n| format!("app/{:05}", n.wrapping_mul(7_919) % KEYS).into_bytes()).collect();
    let value = vec![7; VALUE_BYTES];
    let call = CallContext::background();
    for key in &keys {
        block_on(plugin.put(&call, Put::new(Key::new(KEYSPACE, key), &value)))?;
        block_on(baseline.put(KEYSPACE, key, &value))?;
    }
    println!(
        "{KEYS} records of {VALUE_BYTES} bytes, one thread, nanoseconds a call: median (lowest to highest round)"
    );
    println!("{:<18} {:>26} {:>26} {:>7} {:>8}", "", "Arc<dyn async_trait>", "plugin", "ratio", "allocs");
    let bench = Bench { plugin: &plugin, baseline: &baseline, keys: &keys, value: &value };
    bench.reads();
    bench.writes();
    Ok(())
}

struct Bench<'a> {
    plugin: &'a Generation,
    baseline: &'a Arc<dyn Storage>,
    keys: &'a [Vec<u8>],
    value: &'a [u8],
}

impl Bench<'_> {
    fn key(&self, n: u32) -> &[u8] {
        self.keys.get(n as usize % self.keys.len()).map_or(&[], Vec::as_slice)
    }

    fn reads(&self) {
        let call = CallContext::background();
        report(
            "get",
            100_000,
            &mut |n| {
                black_box(block_on(self.baseline.get(KEYSPACE, self.key(n))).is_ok());
            },
            &mut |n| {
                black_box(block_on(self.plugin.get(&call, Key::new(KEYSPACE, self.key(n)))).is_ok());
            },
        );
        report(
            "get_many of 16",
            10_000,
            &mut |n| {
                let keys: Vec<&[u8]> = (0..MANY).map(|m| self.key(n * MANY + m)).collect();
                black_box(block_on(self.baseline.get_many(KEYSPACE, &keys)).is_ok());
            },
            &mut |n| {
                let keys: Vec<Key<'_>> =
                    (0..MANY).map(|m| Key::new(KEYSPACE, self.key(n * MANY + m))).collect();
                black_box(block_on(self.plugin.get_many(&call, &keys)).is_ok());
            },
        );
        report(
            "scan of 100",
            2_000,
            &mut |n| {
                let scan = Scan::range(KEYSPACE, self.key(n), None).ending_before(Some(b"b"));
                black_box(block_on(self.baseline.scan(scan)).is_ok());
            },
            &mut |n| {
                let scan = Scan::range(KEYSPACE, self.key(n), None).ending_before(Some(b"b"));
                black_box(block_on(self.plugin.scan(&call, scan)).is_ok());
            },
        );
    }

    fn writes(&self) {
        let call = CallContext::background();
        report(
            "put",
            50_000,
            &mut |n| {
                black_box(block_on(self.baseline.put(KEYSPACE, self.key(n), self.value)).is_ok());
            },
            &mut |n| {
                let put = Put::new(Key::new(KEYSPACE, self.key(n)), self.value);
                black_box(block_on(self.plugin.put(&call, put)).is_ok());
            },
        );
        report(
            "batch of 16 puts",
            5_000,
            &mut |n| {
                let ops = self.ops(n);
                black_box(block_on(self.baseline.apply(&ops)).is_ok());
            },
            &mut |n| {
                let ops = self.ops(n);
                let batch = Batch::new(&ops, BatchMode::Atomic, WriteId::default());
                black_box(block_on(self.plugin.apply(&call, batch)).is_ok());
            },
        );
        report(
            "delete, then put",
            30_000,
            &mut |n| {
                black_box(block_on(self.baseline.delete(KEYSPACE, self.key(n))).is_ok());
                black_box(block_on(self.baseline.put(KEYSPACE, self.key(n), self.value)).is_ok());
            },
            &mut |n| {
                let key = Key::new(KEYSPACE, self.key(n));
                black_box(block_on(self.plugin.delete(&call, Delete::new(key))).is_ok());
                black_box(block_on(self.plugin.put(&call, Put::new(key, self.value))).is_ok());
            },
        );
    }

    fn ops(&self, n: u32) -> Vec<Op<'_>> {
        (0..BATCH).map(|m| Op::put(Key::new(KEYSPACE, self.key(n * BATCH + m)), self.value)).collect()
    }
}

fn report(name: &str, operations: u32, baseline: &mut dyn FnMut(u32), plugin: &mut dyn FnMut(u32)) {
    let allocated = allocations::during(|| (0..1_000).for_each(&mut *plugin)).count as f64 / 1_000.0;
    let spreads = in_turns(
        operations,
        &mut [&mut |count| (0..count).for_each(&mut *baseline), &mut |count| {
            (0..count).for_each(&mut *plugin)
        }],
    );
    let [base, plugin] = spreads.as_slice() else { return };
    let text = |spread: &Spread| format!("{:.0} ({:.0} to {:.0})", spread.median, spread.low, spread.high);
    let ratio = plugin.median / base.median;
    println!("{name:<18} {:>26} {:>26} {ratio:>7.2} {allocated:>8.2}", text(base), text(plugin));
}
