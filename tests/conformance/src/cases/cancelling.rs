//! Deadlines, and calls that the caller drops before they end.

use std::{
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use keyway_loader::{
    Answered, Batch, BatchMode, Begin, CallContext, DropKeyspace, Error, Features, Isolation, Op, Outcome,
    Put, Reply, Scan,
};

use crate::{
    Case,
    harness::{Broken, Harness, call, promise, wait, write_id},
    verdict::Outcomes,
};

/// How much later than its deadline a call may answer.
const SLACK: Duration = Duration::from_secs(5);
/// Most transactions that a case opens to see whether places were lost.
const MOST_OPEN: u64 = 1_000;
/// How long what a cancelled call held may take to be free: the interface gives it a second.
const RELEASE: Duration = Duration::from_secs(5);

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "deadline_is_kept_behind_an_open_transaction",
        "a call answers in the time that it was given, or, where a write transaction keeps writers waiting, in the longest life of \
         one; a failure that is NotApplied changed nothing",
        deadline,
    )
    .when(super::claims::has_transactions),
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
    .when(super::claims::has_transactions),
];

fn deadline(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"before")?;
    h.put(b"other", b"before")?;
    let tx = h.begin(h.capabilities().isolation)?;
    wait(tx.put(&call(), Put::new(h.key(b"k"), b"in a transaction").with_write_id(write_id())))?;
    let held = if h.capabilities().features.contains(Features::BLOCKS_WRITERS) {
        Duration::from_millis(h.capabilities().limits.transaction_age_ms)
    } else {
        Duration::ZERO
    };
    let mut denied = Vec::new();
    for remaining_ms in [1, 50, 300] {
        let hurried = CallContext::background().with_remaining_ms(remaining_ms);
        let in_time = |begun: Instant, what: &str| -> Outcomes {
            let took = begun.elapsed();
            promise!(
                took < Duration::from_millis(remaining_ms) + held + SLACK,
                "a {what} that was given {remaining_ms} ms answered after {} ms",
                took.as_millis()
            );
            Ok(())
        };
        // The key that the transaction has written, and another one.
        for key in [b"k".as_slice(), b"other"] {
            let value = format!("{remaining_ms} {}", key.escape_ascii()).into_bytes();
            let begun = Instant::now();
            let put = Put::new(h.key(key), &value).with_write_id(write_id());
            let written = wait(h.store().put(&hurried, put));
            in_time(begun, "put")?;
            match written {
                Err(error) if error.outcome() == Outcome::NOT_APPLIED => denied.push((key, value, error)),
                _ => {}
            }
        }
        let begun = Instant::now();
        let read = wait(h.store().get(&hurried, h.key(b"k")));
        in_time(begun, "get")?;
        if let Ok(record) = read {
            promise!(
                record.is_some_and(|record| record.value() != b"in a transaction"),
                "a read during a transaction saw what was not committed"
            );
        }
        expect_undone(h, &denied)?;
    }
    wait(tx.rollback(&call()))?;
    // A put that was reported as not applied must not be applied later either.
    thread::sleep(Duration::from_millis(500));
    expect_undone(h, &denied)
}

/// Puts that failed with proof that nothing was changed are not seen.
fn expect_undone(h: &Harness<'_>, denied: &[(&[u8], Vec<u8>, Error)]) -> Outcomes {
    for (key, value, error) in denied {
        let seen = wait(h.store().get(&call(), h.key(key)))?;
        promise!(
            seen.is_none_or(|record| record.value() != value),
            "a put failed with proof that nothing was changed ({error}), and its value is there"
        );
    }
    Ok(())
}

/// Polls a reply up to `times` times, and drops it. Answers the result if the reply was ready by then.
pub(super) fn polled<T: Answered>(reply: Reply<T>, times: u64) -> Option<Result<T, Error>> {
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
        match random.below(7) {
            0 | 1 => drop(polled(
                h.store().put(&call(), Put::new(h.key(&key), &value).with_write_id(write_id())),
                times,
            )),
            2 => drop(polled(h.store().get(&call(), h.key(&key)), times)),
            3 => drop(polled(h.store().scan(&call(), Scan::prefix(h.keyspace(), b"")), times)),
            4 => {
                let ops = [Op::put(h.key(&key), &value), Op::delete(h.key(b"never there"))];
                let batch = Batch::new(&ops, BatchMode::Independent, write_id());
                drop(polled(h.store().apply(&call(), batch), times));
            }
            5 => {
                let other = format!("{}-other", h.keyspace());
                drop(polled(h.store().drop_keyspace(&call(), DropKeyspace::new(&other, write_id())), times));
            }
            _ if isolation == Isolation::NONE => {}
            _ => {
                let begin = Begin { isolation, read_only: round % 2 == 0 };
                if let Some(Ok(tx)) = polled(h.store().begin(&call(), begin), times) {
                    drop(polled(tx.get(&call(), h.key(&key)), times));
                    drop(polled(tx.commit(&call(), write_id()), times));
                }
            }
        }
    }
    let begun = Instant::now();
    h.put(b"after", b"v")?;
    if isolation > Isolation::NONE {
        let limit = h.capabilities().limits.transactions.min(MOST_OPEN);
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
