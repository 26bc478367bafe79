//! Threads: a call that waits is a future, and polling it does not wait.

use std::{
    fs,
    future::Future as _,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake},
    thread::{self, Thread},
    time::Duration,
};

use keyway_loader::{
    Answered, BackupLevel, BackupPull, Batch, BatchMode, Begin, Delete, DropKeyspace, Error, Generation, Op,
    Put, Reply, Scan,
    polls::{SLOW_POLL, TOLERATED},
};

use super::claims::has_transactions;
use crate::{
    Case,
    harness::{Broken, Harness, call, write_id},
    verdict::{Outcomes, Stop},
};

pub(crate) const CASES: &[Case] = &[Case::new(
    "call_that_waits_blocks_no_thread",
    "a call and each poll of its future return within 5 ms, or compute: they do not wait for a lock, a disk, a network or a timer",
    blocks_no_thread,
)];

/// Rounds of all operations.
const ROUNDS: usize = 10;

fn blocks_no_thread(h: &Harness<'_>) -> Outcomes {
    let mut watch = ThreadWatch::default();
    if waits().is_none() {
        return Err(Stop::Unproved("this system does not say whether a thread has waited".into()));
    }
    let (store, capabilities) = (h.store(), h.capabilities());
    // The loader would move the polls of a backend that has blocked already, in its opening for example.
    store.keep_polls();
    for round in 0..h.rounds(ROUNDS, 10 * ROUNDS) {
        let value = [u8::try_from(round % 256).unwrap_or(0); 1_000];
        let key = h.key(b"k");
        watch.call(&store, "put", |store| {
            store.put(&call(), Put::new(key, &value).with_write_id(write_id()))
        })?;
        watch.call(&store, "get", |store| store.get(&call(), key))?;
        watch.call(&store, "get_many", |store| store.get_many(&call(), &[key, h.key(b"none")]))?;
        watch.call(&store, "scan", |store| store.scan(&call(), Scan::prefix(h.keyspace(), b"")))?;
        let ops = [Op::put(h.key(b"l"), &value), Op::delete(h.key(b"none"))];
        watch.call(&store, "apply", |store| {
            store.apply(&call(), Batch::new(&ops, BatchMode::Independent, write_id()))
        })?;
        let delete = Delete::new(key).with_write_id(write_id());
        watch.call(&store, "delete", |store| store.delete(&call(), delete))?;
        watch.call(&store, "keyspaces", |store| store.keyspaces(&call(), ""))?;
        watch.call(&store, "health", |store| store.health(&call()))?;
        if has_transactions(&capabilities) {
            let begin = Begin { isolation: capabilities.isolation, read_only: false };
            let tx = watch.call(&store, "begin", |store| store.begin(&call(), begin))?;
            let put = Put::new(key, &value).with_write_id(write_id());
            watch.call(&store, "put in a transaction", |_| tx.put(&call(), put))?;
            watch.call(&store, "commit", |_| tx.commit(&call(), write_id()))?;
        }
        if capabilities.backup > BackupLevel::NONE {
            let backup = watch.call(&store, "backup", |store| store.backup(&call()))?;
            let pull = BackupPull { max_items: 100, max_bytes: 100_000 };
            watch.call(&store, "a pull from a backup", |_| backup.next(&call(), pull))?;
        }
        let drop = DropKeyspace::new(h.keyspace(), write_id());
        watch.call(&store, "drop_keyspace", |store| store.drop_keyspace(&call(), drop))?;
    }
    match watch.blocked.as_slice() {
        [first, ..] if watch.blocked.len() >= TOLERATED => Err(Broken(format!(
            "{first}; a call or a poll waited {} times. Other requests of the host wait with it: do such work on threads \
             of the backend, and let the future wait for their answer",
            watch.blocked.len()
        ))),
        _ => Ok(()),
    }
}

/// Counts the calls and polls in which this thread waited for longer than a poll may take.
///
/// The time alone proves nothing on a busy machine: the thread may have been stopped to let another one run. That
/// it gave up the processor by itself does.
#[derive(Default)]
struct ThreadWatch {
    blocked: Vec<String>,
}

impl ThreadWatch {
    fn call<T: Answered>(
        &mut self,
        store: &Generation,
        what: &str,
        start: impl FnOnce(&Generation) -> Reply<T>,
    ) -> Result<T, Error> {
        let waker = Arc::new(Unpark(thread::current())).into();
        let mut context = Context::from_waker(&waker);
        let mut reply = pin!(self.step(what, "the call of", || start(store)));
        loop {
            if let Poll::Ready(result) = self.step(what, "a poll of", || reply.as_mut().poll(&mut context)) {
                return result;
            }
            // Woken by the backend; the time is for a wake that came before.
            thread::park_timeout(Duration::from_millis(100));
        }
    }

    fn step<T>(&mut self, what: &str, step: &str, run: impl FnOnce() -> T) -> T {
        let (before, begun) = (waits(), std::time::Instant::now());
        let result = run();
        let took = begun.elapsed();
        if took > SLOW_POLL && waits() > before {
            self.blocked.push(format!("{step} {what} kept its thread waiting for {} ms", took.as_millis()));
        }
        result
    }
}

/// How often the present thread gave up the processor by itself: a lock, a disk, a sleep.
fn waits() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
