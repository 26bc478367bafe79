//! The work that is measured.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use futures_executor::block_on;
use keyway_conformance::write_id;
use keyway_loader::{
    Answered, BackupPull, Batch, BatchMode, Begin, CallContext, Delete, Error, Key, Op, Put, Reply, Scan,
};

use super::contender::{Contender, KEYSPACE, RECORDS};

/// One kind of work.
pub(super) struct Work {
    pub(super) name: &'static str,
    /// Whether it is also measured with many callers.
    pub(super) is_for_many: bool,
    pub(super) is_offered: fn(&Contender) -> bool,
    /// Does it once; `turn` differs between all turns of all callers.
    pub(super) turn: fn(&Contender, usize, &mut Clock) -> Result<(), Error>,
}

/// Several records at a time.
const MANY: usize = 16;
/// The entries of a page.
const PAGE: usize = 100;

pub(super) const WORKS: [Work; 8] = [
    Work { name: "get", is_for_many: true, is_offered: |_| true, turn: get },
    Work { name: "get of 16 keys", is_for_many: true, is_offered: |_| true, turn: get_many },
    Work { name: "scan of 100 records", is_for_many: true, is_offered: |_| true, turn: scan },
    Work { name: "put", is_for_many: true, is_offered: |_| true, turn: put },
    Work { name: "delete and put", is_for_many: true, is_offered: |_| true, turn: delete_and_put },
    Work { name: "batch of 16 puts", is_for_many: true, is_offered: Contender::has_batches, turn: batch },
    Work {
        name: "transaction: get, put",
        is_for_many: true,
        is_offered: Contender::has_transactions,
        turn: transaction,
    },
    Work {
        name: "backup of all records",
        is_for_many: false,
        is_offered: Contender::has_backup,
        turn: backup,
    },
];

/// How long the calls of one turn were on their caller's thread, before their replies were waited for.
#[derive(Default)]
pub(super) struct Clock(pub(super) Duration);

impl Clock {
    fn wait<T: Answered>(&mut self, call: impl FnOnce() -> Reply<T>) -> Result<T, Error> {
        let begun = Instant::now();
        let reply = call();
        self.0 += begun.elapsed();
        block_on(reply)
    }
}

fn key(contender: &Contender, turn: usize) -> Key<'_> {
    // Neighbours in time are none in the order of keys.
    let bytes = contender.keys.get(turn.wrapping_mul(2_654_435_761) % RECORDS);
    Key::new(KEYSPACE, bytes.map_or(&[], Vec::as_slice))
}

fn call() -> CallContext<'static> {
    CallContext::background()
}

fn get(contender: &Contender, turn: usize, clock: &mut Clock) -> Result<(), Error> {
    clock.wait(|| contender.store.get(&call(), key(contender, turn))).map(|found| {
        black_box(found);
    })
}

fn get_many(contender: &Contender, turn: usize, clock: &mut Clock) -> Result<(), Error> {
    let keys: Vec<Key<'_>> = (0..MANY).map(|offset| key(contender, turn * MANY + offset)).collect();
    clock.wait(|| contender.store.get_many(&call(), &keys)).map(|found| {
        black_box(found);
    })
}

fn scan(contender: &Contender, turn: usize, clock: &mut Clock) -> Result<(), Error> {
    let start = key(contender, turn);
    let scan = Scan::range(KEYSPACE, start.bytes(), None).with_max_items(PAGE as u32);
    clock.wait(|| contender.store.scan(&call(), scan)).map(|page| {
        black_box(page);
    })
}

fn put(contender: &Contender, turn: usize, clock: &mut Clock) -> Result<(), Error> {
    let put = Put::new(key(contender, turn), &contender.value).with_write_id(write_id());
    clock.wait(|| contender.store.put(&call(), put)).map(|_| ())
}

fn delete_and_put(contender: &Contender, turn: usize, clock: &mut Clock) -> Result<(), Error> {
    let delete = Delete::new(key(contender, turn)).with_write_id(write_id());
    clock.wait(|| contender.store.delete(&call(), delete))?;
    put(contender, turn, clock)
}

fn batch(contender: &Contender, turn: usize, clock: &mut Clock) -> Result<(), Error> {
    // Each key once.
    let first = turn.wrapping_mul(2_654_435_761) % (RECORDS - MANY);
    let keys = contender.keys.iter().skip(first).take(MANY);
    let ops: Vec<Op<'_>> = keys.map(|key| Op::put(Key::new(KEYSPACE, key), &contender.value)).collect();
    let batch = Batch::new(&ops, BatchMode::Atomic, write_id());
    clock.wait(|| contender.store.apply(&call(), batch)).map(|_| ())
}

fn transaction(contender: &Contender, turn: usize, clock: &mut Clock) -> Result<(), Error> {
    let begin = Begin { isolation: contender.capabilities.isolation, read_only: false };
    let open = clock.wait(|| contender.store.begin(&call(), begin))?;
    black_box(clock.wait(|| open.get(&call(), key(contender, turn)))?);
    clock.wait(|| open.put(&call(), Put::new(key(contender, turn), &contender.value)))?;
    clock.wait(|| open.commit(&call(), write_id())).map(|_| ())
}

fn backup(contender: &Contender, _turn: usize, clock: &mut Clock) -> Result<(), Error> {
    let stream = clock.wait(|| contender.store.backup(&call()))?;
    loop {
        let chunk =
            clock.wait(|| stream.next(&call(), BackupPull { max_items: 1_000, max_bytes: 1 << 20 }))?;
        if chunk.is_done() {
            return Ok(());
        }
    }
}
