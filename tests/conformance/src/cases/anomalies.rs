//! Anomalies: what transactions must not do to each other, each at the isolation that is claimed.
//!
//! The names are Adya's ("Weak Consistency", 1999) and Berenson's ("A Critique of ANSI SQL Isolation Levels",
//! 1995). Some backends let a write transaction keep other writers waiting: if a case needs two of them at
//! the same time, each runs on a separate thread, and the case checks the state that they left, not their
//! order.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use keyway_loader::{Error, Isolation, Transaction};

use super::transactions::{begin, keys, read, write};
use crate::{
    Case,
    harness::{Harness, again_on_conflict, call, promise, wait, write_id},
    verdict::{Outcomes, Stop},
};

const AUDITORS: usize = 3;
const TRANSFERS: usize = 40;
const ACCOUNTS: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "transaction_is_invisible_before_commit",
        "no reader sees uncommitted writes (no dirty read, G1a), and every reader sees committed ones",
        invisible,
    )
    .when(super::claims::has_transactions),
    Case::new(
        "transaction_intermediate_and_aborted_writes_are_never_read",
        "no reader sees a value that its transaction wrote over (G1b), or never committed (G1a)",
        never_dirty,
    )
    .when(super::claims::has_transactions),
    Case::new(
        "transaction_reads_its_snapshot",
        "a transaction reads as of its begin, in scans too: no non-repeatable read, no phantom (isolation: snapshot)",
        reads_snapshot,
    )
    .when(super::claims::has_snapshots),
    Case::new(
        "transaction_begun_after_a_write_sees_it",
        "a transaction's snapshot is fixed at its begin, and has every write that was acknowledged before (read consistency: linearizable)",
        begun_after,
    )
    .when(|capabilities| super::claims::has_snapshots(capabilities) && super::claims::is_linearizable(capabilities)),
    Case::new(
        "transaction_auditors_see_constant_total",
        "a transaction sees each other one whole or not at all: no read skew (G-single; isolation: snapshot)",
        constant_total,
    )
    .when(super::claims::has_snapshots),
    Case::new(
        "transaction_snapshots_agree_on_an_order",
        "of any two snapshots one is the earlier: no long fork (isolation: snapshot)",
        no_long_fork,
    )
    .when(super::claims::has_snapshots),
];

fn invisible(h: &Harness<'_>) -> Outcomes {
    h.put(b"a", b"old")?;
    let tx = begin(h)?;
    write(h, &tx, b"a", b"new")?;
    write(h, &tx, b"b", b"new")?;
    promise!(h.value(b"a")? == b"old" && h.get(b"b")?.is_none(), "a read outside saw what was not committed");
    promise!(h.entries(b"")?.len() == 1, "a scan outside saw what was not committed");
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
            write(h, &tx, b"k", (2 * round + 1).to_string().as_bytes())?;
            get()?;
            match round % 3 {
                0 => wait(tx.rollback(&call()))?,
                1 => drop(tx),
                _ => {
                    write(h, &tx, b"k", (2 * round).to_string().as_bytes())?;
                    wait(tx.commit(&call(), write_id())).map(drop)?;
                }
            }
            get()
        })
    };
    let read_all = || -> Outcomes {
        while !stop.load(Ordering::Relaxed) {
            get()?;
            look(h.entries(b"")?.first().map(|(_, value)| value.as_slice()), "scan")?;
            let tx = h.begin_read_only(h.capabilities().isolation)?;
            look(read(h, &tx, b"k")?.as_deref(), "a read-only transaction")?;
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
                        let both = (read(h, &tx, b"x")?, read(h, &tx, b"y")?);
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
                    (1..rounds).try_for_each(|round| {
                        again_on_conflict(|| h.put(key, round.to_string().as_bytes())).map(drop)
                    })
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
    promise!(read(h, &tx, b"a")?.as_deref() == Some(b"1"), "a snapshot saw a later put");
    promise!(read(h, &tx, b"b")?.as_deref() == Some(b"1"), "a snapshot saw a later delete");
    promise!(keys(h, &tx)? == [b"a".to_vec(), b"b".to_vec()], "a scan of a snapshot saw later writes");
    wait(tx.rollback(&call()))?;
    promise!(h.value(b"a")? == b"2", "the present value is not the last one written");
    Ok(())
}

/// Runs `work` in transactions until one commits.
pub(super) fn until_committed(h: &Harness<'_>, work: impl Fn(&Transaction) -> Outcomes) -> Outcomes {
    loop {
        let attempt = || -> Outcomes {
            let tx = begin(h)?;
            work(&tx)?;
            Ok(wait(tx.commit(&call(), write_id())).map(drop)?)
        };
        match attempt() {
            Err(Stop::Conflict(_)) => {}
            ended => return ended,
        }
    }
}

pub(super) fn number(value: Option<&Vec<u8>>) -> i64 {
    value.and_then(|value| String::from_utf8_lossy(value).parse().ok()).unwrap_or(0)
}

fn begun_after(h: &Harness<'_>) -> Outcomes {
    for round in 0..h.rounds(300, 20_000) {
        let value = round.to_string().into_bytes();
        if round % 2 == 0 {
            h.put(b"k", &value)?;
        } else {
            until_committed(h, |tx| Ok(write(h, tx, b"k", &value)?))?;
        }
        let tx = h.begin_read_only(Isolation::SNAPSHOT)?;
        let seen = read(h, &tx, b"k")?.map(|seen| seen.escape_ascii().to_string());
        promise!(
            seen == Some(round.to_string()),
            "after the write of {round} was acknowledged, a transaction began that read {seen:?}"
        );
    }
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
        Ok(write(h, tx, to, (has + 7).to_string().as_bytes())?)
    })
}

/// Counts what all accounts hold; `between` happens after each read.
fn audit(h: &Harness<'_>, mut between: impl FnMut() -> Outcomes) -> Outcomes {
    let tx = h.begin_read_only(Isolation::SNAPSHOT)?;
    let mut total = 0;
    for account in ACCOUNTS {
        total += number(read(h, &tx, account)?.as_ref());
        between()?;
    }
    wait(tx.rollback(&call()))?;
    promise!(total == 400, "an auditor counted {total} in accounts that hold 400");
    Ok(())
}
