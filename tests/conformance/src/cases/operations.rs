//! Health, deadlines, cancelling, closing.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use keyway_loader::{
    BackupLevel, BackupPull, Begin, CallContext, Capabilities, Delete, DropKeyspace, Durability, Error,
    ErrorCode, Features, Health, Isolation, Outcome, Put, Reply, RestoreMode, Scan,
};

use crate::{
    Case, Trouble,
    case::{Outcomes, Stop},
    harness::{Broken, Harness, call, promise, refused, wait, write_id},
    ledger::Ledger,
};

/// How much later than its deadline a call may answer.
const SLACK: Duration = Duration::from_secs(5);
/// How long health may take to notice.
const NOTICE: Duration = Duration::from_secs(10);
/// How long what a cancelled call held may take to be free: the interface gives it a second.
const RELEASE: Duration = Duration::from_secs(5);

pub(crate) const CASES: &[Case] = &[
    Case::new("health_of_working_store_is_ready", "health is the truth, found out by asking the store", healthy),
    Case::new(
        "health_says_when_the_store_is_gone_and_when_it_is_back",
        "health is not ready while the store is gone, live all the same, and ready once it is back; calls meanwhile fail and lose nothing",
        |h| through_trouble(h, Trouble::Gone),
    )
    .when(has_store_beneath),
    Case::new(
        "store_that_is_full_refuses_writes_and_loses_nothing",
        "where there is no room a write fails, what is there can be read, and health says so; then everything works again",
        |h| through_trouble(h, Trouble::Full),
    )
    .when(has_store_beneath),
    Case::new(
        "store_that_is_read_only_refuses_writes_and_loses_nothing",
        "where nothing can be written a write fails, what is there can be read, and health says so; then everything works again",
        |h| through_trouble(h, Trouble::ReadOnly),
    )
    .when(has_store_beneath),
    Case::new(
        "extension_that_is_unknown_is_not_found",
        "an extension that the backend does not have is NotFound",
        unknown_extension,
    ),
    Case::new(
        "upgrade_of_current_format_changes_nothing",
        "upgrade brings the data to the plugin's format; where it is that already, nothing changes",
        upgrade,
    ),
    Case::new(
        "get_declared_inline_is_ready_at_once",
        "where INLINE_GET is declared, get waits for nothing: its answer is ready at once",
        inline,
    )
    .when(|capabilities| capabilities.features.contains(Features::INLINE_GET)),
    Case::new(
        "deadline_is_kept_behind_an_open_transaction",
        "a call answers within the time that it was given, whatever others hold; a failure that is NotApplied changed nothing",
        deadline,
    )
    .when(super::has_transactions),
    Case::new(
        "cancelled_calls_hold_nothing",
        "dropping a call releases what it holds; its effect may still happen, whole, at most once",
        cancelled,
    ),
    Case::new(
        "cancelled_call_leaves_a_transaction_only_rollback",
        "a transaction of which a call was cancelled serves no other call, and leaves nothing",
        cancelled_in_transaction,
    )
    .when(super::has_transactions),
    Case::new(
        "shutdown_twice_is_once_and_later_calls_are_closed",
        "shutdown is idempotent, and calls that come after it are Closed, on what was open before too",
        shutdown,
    ),
    Case::new(
        "shutdown_with_calls_in_flight_answers_each_and_loses_none",
        "shutdown finishes what is in flight: each call is answered, and what was acknowledged is there at the next opening",
        shutdown_in_flight,
    ),
];

/// Whether there is anything beneath the backend that can be in trouble without it.
fn has_store_beneath(capabilities: &Capabilities) -> bool {
    capabilities.durability > Durability::VOLATILE
}

fn health(h: &Harness<'_>) -> Result<Health, Error> {
    wait(h.store().health(&call()))
}

fn healthy(h: &Harness<'_>) -> Outcomes {
    let health = health(h)?;
    promise!(health.is_ready(), "a working store says that it is not ready: {}", health.detail());
    promise!(health.is_live(), "a working store says that it is not live");
    Ok(())
}

fn through_trouble(h: &Harness<'_>, trouble: Trouble) -> Outcomes {
    let faults = h.faults(&trouble.to_string())?;
    let (mut ledger, mut random) = (Ledger::new(0), h.random(0));
    let mut write = |ledger: &mut Ledger| ledger.write(&**h.store(), &mut random, &mut |_| ());
    for _ in 0..20 {
        write(&mut ledger)?;
    }
    faults.trouble(Some(trouble))?;
    let begun = Instant::now();
    let told = loop {
        // Some stores notice only when they are used.
        let _noted = write(&mut ledger);
        match health(h) {
            Ok(health) if !health.is_ready() => break health,
            Ok(_) if begun.elapsed() > NOTICE => {
                return Err(Broken(format!(
                    "the store {trouble}, and after {} s health says that it is ready",
                    NOTICE.as_secs()
                )));
            }
            Ok(_) => thread::sleep(Duration::from_millis(50)),
            Err(error) => {
                return Err(Broken(format!("the store {trouble}, and health has no answer but {error}")));
            }
        }
    };
    promise!(
        told.is_live(),
        "the store {trouble}, and health says that only opening it anew can help: {}",
        told.detail()
    );
    promise!(!told.detail().is_empty(), "the store {trouble}, and health does not say what is wrong");
    if trouble != Trouble::Gone {
        promise!(!told.is_writable(), "the store {trouble}, and health says that it can be written");
        ledger.check(&**h.store()).map_err(|found| Broken(format!("while the store {trouble}: {found}")))?;
    }
    let failed = (0..20).filter(|_| write(&mut ledger).is_err()).count();
    promise!(failed == 20, "the store {trouble}, and {} of 20 writes were acknowledged", 20 - failed);
    faults.trouble(None)?;
    let begun = Instant::now();
    while !health(h).is_ok_and(|health| health.is_ready()) {
        promise!(
            begun.elapsed() < NOTICE,
            "the store is well again, and after {} s health does not say so",
            NOTICE.as_secs()
        );
        thread::sleep(Duration::from_millis(50));
    }
    ledger
        .check(&**h.store())
        .map_err(|found| Broken(format!("after the store was in trouble ({trouble}): {found}")))?;
    for _ in 0..20 {
        write(&mut ledger)?;
    }
    ledger.check(&**h.store()).map_err(Broken)
}

fn unknown_extension(h: &Harness<'_>) -> Outcomes {
    let answer = wait(h.store().extension(&call(), "keyway.no-such-extension", b""));
    refused(answer, ErrorCode::NOT_FOUND, "an extension that does not exist")
}

fn upgrade(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"v")?;
    let first = wait(h.store().upgrade(&call()))?;
    let second = wait(h.store().upgrade(&call()))?;
    promise!(first == second, "a second upgrade changed the format from {first} to {second}");
    promise!(h.value(b"k")? == b"v", "an upgrade changed a value");
    let declared = h.store().capabilities().data_format;
    promise!(first == declared, "upgrade answers the format {first}, and the capabilities say {declared}");
    Ok(())
}

fn inline(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"v")?;
    for key in [b"k".as_slice(), b"missing"] {
        let reply = h.store().get(&call(), h.key(key));
        promise!(reply.is_ready(), "get of \"{}\" answered with a future", key.escape_ascii());
        wait(reply)?;
    }
    Ok(())
}

fn deadline(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"before")?;
    let tx = h.begin(h.capabilities().isolation)?;
    wait(tx.put(&call(), Put::new(h.key(b"k"), b"in a transaction").with_write_id(write_id())))?;
    for remaining_ms in [1, 50, 300] {
        let hurried = CallContext::background().with_remaining_ms(remaining_ms);
        let value = remaining_ms.to_string().into_bytes();
        let begun = Instant::now();
        let written =
            wait(h.store().put(&hurried, Put::new(h.key(b"other"), &value).with_write_id(write_id())));
        let took = begun.elapsed();
        promise!(
            took < Duration::from_millis(remaining_ms) + SLACK,
            "a put that was given {remaining_ms} ms answered after {} ms",
            took.as_millis()
        );
        let begun = Instant::now();
        let read = wait(h.store().get(&hurried, h.key(b"k")));
        promise!(
            begun.elapsed() < Duration::from_millis(remaining_ms) + SLACK,
            "a get that was given {remaining_ms} ms did not answer in time"
        );
        if let Ok(record) = read {
            promise!(
                record.is_some_and(|record| record.value() == b"before"),
                "a read beside a transaction saw what was not committed"
            );
        }
        if let Err(error) = written
            && error.outcome() == Outcome::NOT_APPLIED
        {
            let seen = wait(h.store().get(&call(), h.key(b"other")))?;
            promise!(
                seen.is_none_or(|record| record.value() != value),
                "a put failed with proof that nothing was changed ({error}), and its value is there"
            );
        }
    }
    wait(tx.rollback(&call()))?;
    // Whatever failed in time and said NotApplied must not happen afterwards either.
    h.put(b"other", b"last")?;
    thread::sleep(Duration::from_millis(400));
    promise!(h.value(b"other")? == b"last", "a put that had failed took effect later");
    Ok(())
}

/// Polls a reply so many times, and drops it; the result where it was there by then.
pub(super) fn polled<T>(reply: Reply<T>, times: u64) -> Option<Result<T, Error>> {
    let mut reply = std::pin::pin!(reply);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..times {
        if let Poll::Ready(result) = reply.as_mut().poll(&mut context) {
            return Some(result);
        }
        thread::yield_now();
    }
    None
}

fn cancelled(h: &Harness<'_>) -> Outcomes {
    let rounds = h.rounds(10_000, 100_000) as u64;
    let mut random = h.random(0);
    let isolation = h.capabilities().isolation;
    for round in 0..rounds {
        let times = random.below(4);
        let (key, value) = ([u8::try_from(random.below(16)).unwrap_or(0)], round.to_be_bytes());
        match random.below(5) {
            0 | 1 => drop(polled(
                h.store().put(&call(), Put::new(h.key(&key), &value).with_write_id(write_id())),
                times,
            )),
            2 => drop(polled(h.store().get(&call(), h.key(&key)), times)),
            3 => drop(polled(h.store().scan(&call(), Scan::prefix(h.keyspace(), b"")), times)),
            _ if isolation == Isolation::NONE => {}
            _ => {
                let begin = Begin { isolation, read_only: round % 2 == 0 };
                if let Some(Ok(tx)) = polled(h.store().begin(&call(), begin), times) {
                    drop(polled(tx.get(&call(), h.key(&key)), times));
                }
            }
        }
    }
    let begun = Instant::now();
    h.put(b"after", b"v")?;
    if isolation > Isolation::NONE {
        let limit = h.capabilities().limits.transactions;
        let read_only = Begin { isolation, read_only: true };
        let mut open = Vec::new();
        while (open.len() as u64) < limit {
            match wait(h.store().begin(&call(), read_only)) {
                Ok(tx) => open.push(tx),
                Err(error) if begun.elapsed() > RELEASE => {
                    return Err(Broken(format!(
                        "after {rounds} cancelled calls only {} of {limit} transactions can be open: {error}",
                        open.len()
                    )));
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
        drop(open);
        wait(h.begin(isolation)?.rollback(&call()))?;
    }
    promise!(
        begun.elapsed() < RELEASE + SLACK,
        "after {rounds} cancelled calls the next ones took {} ms",
        begun.elapsed().as_millis()
    );
    for key in 0..16_u8 {
        let whole = h.get(&[key])?.is_none_or(|record| record.value().len() == 8);
        promise!(whole, "a cancelled put left half a value");
    }
    Ok(())
}

fn cancelled_in_transaction(h: &Harness<'_>) -> Outcomes {
    for times in 0..3 {
        let tx = h.begin(h.capabilities().isolation)?;
        wait(tx.put(&call(), Put::new(h.key(b"k"), b"v").with_write_id(write_id())))?;
        if polled(tx.get(&call(), h.key(b"k")), times).is_none() && times > 0 {
            let next = wait(tx.put(&call(), Put::new(h.key(b"l"), b"v").with_write_id(write_id())));
            promise!(next.is_err(), "a transaction of which a call was cancelled took another write");
            let commit = wait(tx.commit(&call(), write_id()));
            promise!(commit.is_err(), "a transaction of which a call was cancelled was committed");
            wait(tx.rollback(&call()))?;
        } else {
            // Whether a call that was never polled has begun is the backend's affair.
            drop(tx);
        }
        promise!(
            h.get(b"k")?.is_none() && h.get(b"l")?.is_none(),
            "a transaction that was given up left a record"
        );
    }
    h.put(b"k", b"after")?;
    Ok(())
}

fn shutdown(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"v")?;
    let capabilities = h.capabilities();
    let tx = super::has_transactions(&capabilities)
        .then(|| h.begin_read_only(capabilities.isolation))
        .transpose()?;
    let backup =
        (capabilities.backup > BackupLevel::NONE).then(|| wait(h.store().backup(&call()))).transpose()?;
    wait(h.store().shutdown(&call()))?;
    wait(h.store().shutdown(&call()))?;
    let store = h.store();
    let closed = ErrorCode::CLOSED;
    refused(h.get(b"k"), closed, "a get after the shutdown")?;
    refused(wait(store.get_many(&call(), &[h.key(b"k")])), closed, "a get_many after the shutdown")?;
    refused(h.put(b"k", b"w"), closed, "a put after the shutdown")?;
    refused(wait(store.delete(&call(), Delete::new(h.key(b"k")))), closed, "a delete after the shutdown")?;
    refused(h.scan(Scan::prefix(h.keyspace(), b"")), closed, "a scan after the shutdown")?;
    refused(wait(store.keyspaces(&call(), "")), closed, "keyspaces after the shutdown")?;
    let dropped = wait(store.drop_keyspace(&call(), DropKeyspace::new(h.keyspace(), write_id())));
    refused(dropped, closed, "drop_keyspace after the shutdown")?;
    if super::has_transactions(&capabilities) {
        refused(h.begin(capabilities.isolation), closed, "a begin after the shutdown")?;
    }
    if capabilities.backup > BackupLevel::NONE {
        refused(wait(store.backup(&call())), closed, "a backup after the shutdown")?;
    }
    if capabilities.features.contains(Features::RESTORE) {
        refused(wait(store.restore(&call(), RestoreMode::REPLACE)), closed, "a restore after the shutdown")?;
    }
    if let Some(tx) = tx {
        refused(
            wait(tx.get(&call(), h.key(b"k"))),
            closed,
            "a read in a transaction of before the shutdown",
        )?;
    }
    if let Some(backup) = backup {
        let next = wait(backup.next(&call(), BackupPull { max_items: 10, max_bytes: 1_000 }));
        refused(next, closed, "a pull from a backup of before the shutdown")?;
    }
    Ok(())
}

fn shutdown_in_flight(h: &Harness<'_>) -> Outcomes {
    for round in 0..h.rounds(5, 200) as u64 {
        let stop = AtomicBool::new(false);
        let mut ledgers: Vec<Ledger> = (0..4).map(|writer| Ledger::new(round * 4 + writer)).collect();
        thread::scope(|scope| -> Outcomes {
            let writers: Vec<_> = (0..)
                .zip(&mut ledgers)
                .map(|(writer, ledger)| {
                    let (stop, store) = (&stop, h.store());
                    scope.spawn(move || -> Outcomes {
                        let mut random = h.random(round * 4 + writer);
                        while !stop.load(Ordering::Relaxed) {
                            match ledger.write(&**store, &mut random, &mut |_| ()) {
                                Ok(()) => {}
                                Err(error) if error.code() == ErrorCode::CLOSED => return Ok(()),
                                Err(error) if error.code() == ErrorCode::CONFLICT => {}
                                Err(error) => {
                                    return Err(Broken(format!(
                                        "a call beside a shutdown failed with {error}, not with Closed"
                                    )));
                                }
                            }
                        }
                        Err(Stop::Broken("a shutdown was answered, and writes succeed after it".into()))
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(20 + 7 * round % 30));
            wait(h.store().shutdown(&call()))?;
            // From here on every call is Closed; whoever does not hear it in time never does.
            thread::sleep(Duration::from_millis(200));
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
        })?;
        h.reopen()?;
        if h.capabilities().durability > Durability::VOLATILE {
            for ledger in &mut ledgers {
                ledger
                    .check(&**h.store())
                    .map_err(|found| Broken(format!("after a shutdown with calls in flight: {found}")))?;
            }
        }
    }
    Ok(())
}
