//! A host and two plugins, each with an allocator that ends the process if it is to free foreign memory. The
//! first argument says how many values go from one plugin through the host to the other. With `control` as
//! the second, the host frees memory of a plugin, which must not go unnoticed.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a command line speaks to its user; a test fails by panicking"
)]

use std::{env, fs};

use futures_executor::block_on;
use keyway_compat::{Workbench, plugin};
use keyway_loader::{
    Batch, BatchMode, Begin, CallContext, Condition, Delete, Generation, Isolation, Key, Op, Put, Scan,
    WriteId,
};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: keyway_tagging::Tagged = keyway_tagging::Tagged;

/// The keys that values go round on.
const KEYS: u64 = 64;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let rounds: u64 = arguments.first().and_then(|text| text.parse().ok()).expect("how often");
    let mut bench = Workbench::new();
    // Under valgrind a child would be too slow; other tests cover the probe.
    bench.loader.prober = None;
    let library = fs::read(plugin("tagged")).expect("read the library");
    let open = |more: &[u8]| {
        // Another digest is another image, with a separate allocator.
        bench.put("memory", &[&library, more].concat());
        bench.lock("memory");
        bench.open("memory", json!({})).expect("open the plugin")
    };
    let (one, other) = (open(b""), open(b"another image"));
    if arguments.get(1).is_some_and(|word| word == "control") {
        let digest = one.plugin().digest().expect("a library has a digest");
        let staged = bench.loader.staging_dir.join(format!("{digest}.so"));
        let foreign = keyway_tagging::take_box(&staged, "keyway_tagged_box").expect("take a box");
        drop(foreign);
        println!("the foreign free went unnoticed");
        return;
    }
    let mut exchanged = 0;
    for round in 0..rounds {
        let (from, to) = if (round / KEYS).is_multiple_of(2) { (&one, &other) } else { (&other, &one) };
        exchanged += exchange(from, to, round);
    }
    for generation in [&one, &other] {
        block_on(generation.shutdown(&CallContext::background())).expect("close the plugin");
    }
    drop((one, other));
    println!("{exchanged} values exchanged, {} blocks of the host", keyway_tagging::allocated());
}

/// One value by itself, and now and then by every other way that there is. Answers how many.
fn exchange(from: &Generation, to: &Generation, round: u64) -> u64 {
    let call = CallContext::background();
    let name = (round % KEYS).to_be_bytes();
    let key = Key::new("k", &name);
    let value = match block_on(from.get(&call, key)).expect("get") {
        Some(record) => record.value().to_vec(),
        None => round.to_be_bytes().repeat(8),
    };
    block_on(to.put(&call, Put::new(key, &value))).expect("put");
    if !round.is_multiple_of(16) {
        return 1;
    }
    // An error's text is the plugin's too.
    let refused = Put::new(key, &value).when(Condition::Absent);
    block_on(to.put(&call, refused)).map(|_| ()).expect_err("a condition that does not hold");
    let page = block_on(from.scan(&call, Scan::prefix("k", b""))).expect("scan");
    let entries: Vec<(Vec<u8>, Vec<u8>)> =
        page.entries().iter().map(|entry| (entry.key().to_vec(), entry.record().value().to_vec())).collect();
    let ops: Vec<Op<'_>> = entries.iter().map(|(key, value)| Op::put(Key::new("k", key), value)).collect();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&round.to_be_bytes());
    if !ops.is_empty() {
        block_on(to.apply(&call, Batch::new(&ops, BatchMode::Atomic, WriteId::new(id)))).expect("apply");
    }
    let transaction =
        block_on(to.begin(&call, Begin { isolation: Isolation::SERIALIZABLE, read_only: false }))
            .expect("begin");
    let read = block_on(transaction.get(&call, key)).expect("get in a transaction");
    assert_eq!(read.map(|record| record.value().to_vec()), Some(value), "another value came out");
    drop(transaction);
    // A call that is cancelled: its reply is dropped.
    drop(from.get(&call, key));
    block_on(from.delete(&call, Delete::new(Key::new("k", b"none")))).expect("delete");
    drop(block_on(from.health(&call)).expect("health"));
    entries.len() as u64 + 1
}
