//! Anomalies: what transactions must not do to each other, each at the isolation that is claimed.
//!
//! The names are Adya's ("Weak Consistency", 1999) and Berenson's ("A Critique of ANSI SQL Isolation Levels", 1995). Some
//! backends let a write transaction keep other writers waiting: where a case needs two of them at a time, each runs on a thread
//! of its own, and the case looks at what they left, not at how they took turns.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use keyway_loader::{Capabilities, Error, ErrorCode, Features, Isolation, Scan, Transaction};

use super::transactions::{begin, keys, read, write};
use crate::{
    Case,
    case::{Outcomes, Stop},
    harness::{Broken, Harness, call, promise, wait, write_id},
};

/// How long a transaction waits between what it reads and what it writes, so that two of them overlap.
const OVERLAP: Duration = Duration::from_micros(500);
const AUDITORS: usize = 3;
const TRANSFERS: usize = 40;
/// Transactions of each of two that count keys; all keys fit into a page.
const COUNTERS: usize = 45;
const ACCOUNTS: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "transaction_is_invisible_before_commit",
        "nobody sees what is not committed (no dirty read, G1a), and everybody what is",
        invisible,
    )
    .when(super::has_transactions),
    Case::new(
        "transaction_intermediate_and_aborted_writes_are_never_read",
        "nobody sees what a transaction wrote and then wrote over (G1b), or what it never committed (G1a)",
        never_dirty,
    )
    .when(super::has_transactions),
    Case::new(
        "transaction_reads_its_snapshot",
        "a transaction reads as of its begin, in scans too: no non-repeatable read, no phantom (isolation: snapshot)",
        reads_snapshot,
    )
    .when(super::has_snapshots),
    Case::new(
        "transaction_auditors_see_constant_total",
        "a transaction sees each other one whole or not at all: no read skew (G-single; isolation: snapshot)",
        constant_total,
    )
    .when(super::has_snapshots),
    Case::new(
        "transaction_snapshots_agree_on_an_order",
        "of any two snapshots one is the earlier: no long fork (isolation: snapshot)",
        no_long_fork,
    )
    .when(super::has_snapshots),
    Case::new(
        "transaction_loses_no_update",
        "of two transactions that read a key and change it one is told to try again: no lost update (P4; isolation: snapshot)",
        no_lost_update,
    )
    .when(super::has_snapshots),
    Case::new(
        "transaction_of_two_that_change_one_key_one_commits",
        "of two open transactions that change one key one commits, and the other fails with Conflict (isolation: snapshot)",
        one_of_two,
    )
    .when(interleaves),
    Case::new(
        "transaction_has_no_write_skew",
        "transactions leave what they would leave one after the other: no write skew (A5B; isolation: serializable)",
        no_write_skew,
    )
    .when(super::is_serializable),
    Case::new(
        "transaction_of_two_that_read_what_the_other_writes_one_commits",
        "of two open transactions that each read what the other writes one commits (G2-item; isolation: serializable)",
        skew_of_two,
    )
    .when(interleaves_serializably),
    Case::new(
        "transaction_has_no_phantom",
        "transactions that count keys and add one leave what they would leave one after the other: no phantom (P3; isolation: serializable)",
        no_phantom,
    )
    .when(super::is_serializable),
    Case::new(
        "transaction_of_two_that_scan_where_the_other_adds_one_commits",
        "of two open transactions that each scan where the other adds a key one commits (G2; isolation: serializable)",
        phantom_of_two,
    )
    .when(interleaves_serializably),
];

/// Whether two transactions that write can be open at a time.
fn interleaves(capabilities: &Capabilities) -> bool {
    super::has_snapshots(capabilities) && !capabilities.features.contains(Features::BLOCKS_WRITERS)
}

fn interleaves_serializably(capabilities: &Capabilities) -> bool {
    interleaves(capabilities) && super::is_serializable(capabilities)
}

fn invisible(h: &Harness<'_>) -> Outcomes {
    h.put(b"a", b"old")?;
    let tx = begin(h)?;
    write(h, &*tx, b"a", b"new")?;
    write(h, &*tx, b"b", b"new")?;
    promise!(h.value(b"a")? == b"old" && h.get(b"b")?.is_none(), "a read outside saw what was not committed");
    let page = h.scan(Scan::prefix(h.keyspace(), b""))?;
    promise!(page.len() == 1, "a scan outside saw what was not committed");
    wait(tx.commit(&call(), write_id()))?;
    promise!(
        h.value(b"a")? == b"new" && h.value(b"b")? == b"new",
        "a commit is not visible to the next read"
    );
    Ok(())
}

fn never_dirty(h: &Harness<'_>) -> Outcomes {
    // Odd numbers are written over before the commit, or rolled back.
    h.put(b"k", b"0")?;
    let (rounds, stop) = (h.rounds(300, 20_000), AtomicBool::new(false));
    let look = |value: Option<&[u8]>, by: &str| -> Outcomes {
        let is_even = value.is_some_and(|value| value.last().is_some_and(|digit| digit % 2 == 0));
        promise!(
            is_even,
            "{by} saw {:?}, which no transaction committed",
            value.map(<[u8]>::escape_ascii).map(|text| text.to_string())
        );
        Ok(())
    };
    let get = || look(h.get(b"k")?.as_ref().map(keyway_loader::Record::value), "get");
    let write_all = || {
        (0..rounds).try_for_each(|round| {
            let tx = begin(h)?;
            write(h, &*tx, b"k", (2 * round + 1).to_string().as_bytes())?;
            get()?;
            match round % 3 {
                0 => wait(tx.rollback(&call()))?,
                1 => drop(tx),
                _ => {
                    write(h, &*tx, b"k", (2 * round).to_string().as_bytes())?;
                    wait(tx.commit(&call(), write_id())).map(drop)?;
                }
            }
            get()
        })
    };
    let read_all = || -> Outcomes {
        while !stop.load(Ordering::Relaxed) {
            get()?;
            let page = h.scan(Scan::prefix(h.keyspace(), b""))?;
            look(page.entries().first().map(|entry| entry.record().value()), "scan")?;
            let tx = h.begin_read_only(h.capabilities().isolation)?;
            look(read(h, &*tx, b"k")?.as_deref(), "a read-only transaction")?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let reader = scope.spawn(read_all);
        let written = write_all();
        stop.store(true, Ordering::Relaxed);
        written?;
        reader.join().expect("the reader does not panic")
    })
}

fn no_long_fork(h: &Harness<'_>) -> Outcomes {
    for key in [b"x", b"y"] {
        h.put(key, b"0")?;
    }
    let (rounds, stop) = (h.rounds(300, 20_000), AtomicBool::new(false));
    let snapshots = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| -> Result<Vec<(i64, i64)>, Stop> {
                    let mut seen = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let tx = h.begin_read_only(Isolation::SNAPSHOT)?;
                        let both = (read(h, &*tx, b"x")?, read(h, &*tx, b"y")?);
                        wait(tx.rollback(&call()))?;
                        seen.push((number(both.0.as_ref()), number(both.1.as_ref())));
                        seen.dedup();
                    }
                    Ok(seen)
                })
            })
            .collect();
        let writers: Vec<_> = [b"x", b"y"]
            .map(|key| {
                scope.spawn(move || {
                    (1..rounds).try_for_each(|round| h.put(key, round.to_string().as_bytes()).map(drop))
                })
            })
            .into_iter()
            .collect();
        let written: Result<Vec<()>, Error> =
            writers.into_iter().map(|writer| writer.join().expect("a writer does not panic")).collect();
        stop.store(true, Ordering::Relaxed);
        let read: Result<Vec<_>, Stop> =
            readers.into_iter().map(|reader| reader.join().expect("a reader does not panic")).collect();
        written?;
        read
    })?;
    // In one order by x they must be in order by y too.
    let mut all: Vec<(i64, i64)> = snapshots.concat();
    all.sort_unstable();
    let fork = all.windows(2).find(|pair| matches!(pair, [one, other] if one.1 > other.1));
    promise!(fork.is_none(), "two snapshots (x, y) disagree on which write came first: {fork:?}");
    Ok(())
}

fn reads_snapshot(h: &Harness<'_>) -> Outcomes {
    h.put(b"a", b"1")?;
    h.put(b"b", b"1")?;
    let tx = h.begin_read_only(Isolation::SNAPSHOT)?;
    h.put(b"a", b"2")?;
    h.put(b"c", b"2")?;
    h.delete(b"b")?;
    promise!(read(h, &*tx, b"a")?.as_deref() == Some(b"1"), "a snapshot saw a later put");
    promise!(read(h, &*tx, b"b")?.as_deref() == Some(b"1"), "a snapshot saw a later delete");
    promise!(keys(h, &*tx)? == [b"a".to_vec(), b"b".to_vec()], "a scan of a snapshot saw later writes");
    wait(tx.rollback(&call()))?;
    promise!(h.value(b"a")? == b"2", "the present value is not the last one written");
    Ok(())
}

/// Runs `work` in transactions until one commits.
pub(super) fn until_committed(
    h: &Harness<'_>,
    work: impl Fn(&dyn Transaction) -> Result<(), Error>,
) -> Outcomes {
    loop {
        let tx = begin(h)?;
        match work(&*tx).and_then(|()| wait(tx.commit(&call(), write_id()))) {
            Ok(_) => return Ok(()),
            Err(error) if error.code() == ErrorCode::CONFLICT => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) fn number(value: Option<&Vec<u8>>) -> i64 {
    value.and_then(|value| String::from_utf8_lossy(value).parse().ok()).unwrap_or(0)
}

fn no_lost_update(h: &Harness<'_>) -> Outcomes {
    let increment = |tx: &dyn Transaction| {
        let count = number(read(h, tx, b"counter")?.as_ref());
        thread::sleep(OVERLAP);
        write(h, tx, b"counter", (count + 1).to_string().as_bytes())
    };
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..20).try_for_each(|_| until_committed(h, increment)))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    let sum = number(Some(&h.value(b"counter")?));
    promise!(sum == 80, "80 increments in transactions came to {sum}");
    Ok(())
}

fn constant_total(h: &Harness<'_>) -> Outcomes {
    for account in ACCOUNTS {
        h.put(account, b"100")?;
    }
    // Once with each transfer between an auditor's reads, then with chance.
    for round in 0..ACCOUNTS.len() {
        audit(h, || transfer(h, round))?;
    }
    let (rounds, stop) = (h.rounds(TRANSFERS, 50 * TRANSFERS), AtomicBool::new(false));
    thread::scope(|scope| {
        let stop = &stop;
        let mover = scope.spawn(move || {
            let moved = (0..rounds).try_for_each(|round| transfer(h, round));
            stop.store(true, Ordering::Relaxed);
            moved
        });
        let auditors: Vec<_> = (0..AUDITORS)
            .map(|_| {
                scope.spawn(|| -> Outcomes {
                    while !stop.load(Ordering::Relaxed) {
                        audit(h, || Ok(()))?;
                    }
                    Ok(())
                })
            })
            .collect();
        let audited = auditors.into_iter().try_for_each(|one| one.join().expect("an auditor does not panic"));
        mover.join().expect("the mover does not panic").and(audited)
    })?;
    audit(h, || Ok(()))
}

/// Moves 7 from one account to the next, in a transaction.
fn transfer(h: &Harness<'_>, round: usize) -> Outcomes {
    let pair = (ACCOUNTS.get(round % 4).copied(), ACCOUNTS.get((round + 1) % 4).copied());
    let (Some(from), Some(to)) = pair else { return Ok(()) };
    until_committed(h, |tx| {
        let (had, has) = (number(read(h, tx, from)?.as_ref()), number(read(h, tx, to)?.as_ref()));
        write(h, tx, from, (had - 7).to_string().as_bytes())?;
        write(h, tx, to, (has + 7).to_string().as_bytes())
    })
}

/// Counts what all accounts hold; `between` happens after each read.
fn audit(h: &Harness<'_>, mut between: impl FnMut() -> Outcomes) -> Outcomes {
    let tx = h.begin_read_only(Isolation::SNAPSHOT)?;
    let mut total = 0;
    for account in ACCOUNTS {
        total += number(read(h, &*tx, account)?.as_ref());
        between()?;
    }
    wait(tx.rollback(&call()))?;
    promise!(total == 400, "an auditor counted {total} in accounts that hold 400");
    Ok(())
}

/// Commits both; exactly one may succeed, and the other must be told to try again.
fn exactly_one_commits(first: &dyn Transaction, second: &dyn Transaction, what: &str) -> Outcomes {
    wait(first.commit(&call(), write_id()))?;
    match wait(second.commit(&call(), write_id())) {
        Ok(_) => Err(Broken(format!("both of two transactions committed: {what}"))),
        Err(error) if error.code() == ErrorCode::CONFLICT => Ok(()),
        Err(error) => {
            Err(Broken(format!("the second of two transactions failed with {error}, not with Conflict")))
        }
    }
}

fn one_of_two(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"0")?;
    let (first, second) = (begin(h)?, begin(h)?);
    for tx in [&*first, &*second] {
        read(h, tx, b"k")?;
        write(h, tx, b"k", b"1")?;
    }
    exactly_one_commits(&*first, &*second, "each read a key and changed it (lost update)")
}

fn skew_of_two(h: &Harness<'_>) -> Outcomes {
    h.put(b"x", b"1")?;
    h.put(b"y", b"1")?;
    let (first, second) = (begin(h)?, begin(h)?);
    for (tx, own) in [(&*first, b"x"), (&*second, b"y")] {
        read(h, tx, b"x")?;
        read(h, tx, b"y")?;
        write(h, tx, own, b"0")?;
    }
    exactly_one_commits(&*first, &*second, "each read what the other changed (write skew)")
}

fn phantom_of_two(h: &Harness<'_>) -> Outcomes {
    h.put(b"a", b"1")?;
    let (first, second) = (begin(h)?, begin(h)?);
    for (tx, own) in [(&*first, b"b"), (&*second, b"c")] {
        keys(h, tx)?;
        write(h, tx, own, b"1")?;
    }
    exactly_one_commits(&*first, &*second, "each scanned where the other added a key (phantom)")
}

fn no_write_skew(h: &Harness<'_>) -> Outcomes {
    for _ in 0..h.rounds(20, 2_000) {
        h.put(b"x", b"1")?;
        h.put(b"y", b"1")?;
        let leave = |own: &'static [u8]| {
            move |tx: &dyn Transaction| {
                let on_call = number(read(h, tx, b"x")?.as_ref()) + number(read(h, tx, b"y")?.as_ref());
                thread::sleep(OVERLAP);
                if on_call == 2 { write(h, tx, own, b"0") } else { Ok(()) }
            }
        };
        thread::scope(|scope| {
            let other = scope.spawn(move || until_committed(h, leave(b"y")));
            until_committed(h, leave(b"x")).and(other.join().expect("the other one does not panic"))
        })?;
        let left = number(Some(&h.value(b"x")?)) + number(Some(&h.value(b"y")?));
        promise!(left == 1, "two transactions that each keep one of two on call left {left}");
    }
    Ok(())
}

fn no_phantom(h: &Harness<'_>) -> Outcomes {
    // Two transactions each count the keys and add one that is named by the count: serially, no name repeats.
    let add = |mark: &'static [u8]| {
        move |tx: &dyn Transaction| {
            let count = keys(h, tx)?.len();
            thread::sleep(OVERLAP);
            write(h, tx, format!("{count:03}-{}", String::from_utf8_lossy(mark)).as_bytes(), mark)
        }
    };
    thread::scope(|scope| {
        let other = scope.spawn(move || (0..COUNTERS).try_for_each(|_| until_committed(h, add(b"o"))));
        let own = (0..COUNTERS).try_for_each(|_| until_committed(h, add(b"m")));
        own.and(other.join().expect("the other one does not panic"))
    })?;
    let tx = h.begin_read_only(h.capabilities().isolation)?;
    let counts: Vec<Vec<u8>> = keys(h, &*tx)?.into_iter().map(|key| key.split_at(3).0.to_vec()).collect();
    let expected: Vec<Vec<u8>> = (0..2 * COUNTERS).map(|count| format!("{count:03}").into_bytes()).collect();
    promise!(
        counts == expected,
        "{} transactions that count keys and add one named by the count left {} keys with phantoms",
        2 * COUNTERS,
        counts.len()
    );
    Ok(())
}
