//! Conflicts: what two transactions that write must not both do, each at the isolation that is claimed.
//!
//! The names are those of [`anomalies`](super::anomalies).

use std::{thread, time::Duration};

use keyway_loader::{Capabilities, Features, Transaction};

use super::{
    anomalies::{number, until_committed},
    transactions::{begin, keys, read, write},
};
use crate::{
    Case,
    harness::{Broken, Harness, call, certain, promise, wait, write_id},
    verdict::{Outcomes, Stop},
};

/// What a transaction still has to do.
type Work<'a> = &'a (dyn Fn(&Transaction) -> Outcomes + Sync);

/// How long a transaction waits between what it reads and what it writes, so that two of them overlap.
const OVERLAP: Duration = Duration::from_micros(500);
/// Transactions of each of two that count keys; all keys fit into a page.
const COUNTERS: usize = 45;

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "transaction_loses_no_update",
        "of two transactions that read a key and change it one is told to try again: no lost update (P4; isolation: snapshot)",
        no_lost_update,
    )
    .when(super::claims::has_snapshots),
    Case::new(
        "transaction_of_two_that_change_one_key_one_commits",
        "of two open transactions that change one key one commits, and the other fails with Conflict (isolation: snapshot)",
        one_of_two,
    )
    .when(interleaves),
    Case::new(
        "transaction_has_no_write_skew",
        "transactions have the effect of running one after the other: no write skew (A5B; isolation: serializable)",
        no_write_skew,
    )
    .when(super::claims::is_serializable),
    Case::new(
        "transaction_of_two_that_read_what_the_other_writes_one_commits",
        "if two open transactions each read what the other writes, one of them commits (G2-item; isolation: serializable)",
        skew_of_two,
    )
    .when(interleaves_serializably),
    Case::new(
        "transaction_has_no_phantom",
        "transactions that count keys and add one have the effect of running one after the other: no phantom (P3; isolation: serializable)",
        no_phantom,
    )
    .when(super::claims::is_serializable),
    Case::new(
        "transaction_of_two_that_scan_where_the_other_adds_one_commits",
        "if two open transactions each scan the range in which the other adds a key, one of them commits (G2; isolation: serializable)",
        phantom_of_two,
    )
    .when(interleaves_serializably),
];

/// Whether two transactions that write can be open at a time.
fn interleaves(capabilities: &Capabilities) -> bool {
    super::claims::has_snapshots(capabilities) && !capabilities.features.contains(Features::BLOCKS_WRITERS)
}

fn interleaves_serializably(capabilities: &Capabilities) -> bool {
    interleaves(capabilities) && super::claims::is_serializable(capabilities)
}

fn no_lost_update(h: &Harness<'_>) -> Outcomes {
    let increment = |tx: &Transaction| -> Outcomes {
        let count = number(read(h, tx, b"counter")?.as_ref());
        thread::sleep(OVERLAP);
        Ok(write(h, tx, b"counter", (count + 1).to_string().as_bytes())?)
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

/// Two transactions have begun and read. Each now writes and commits on a separate thread. At most one may
/// succeed, and each one that fails must report a conflict.
fn not_both_commit(work: [(Transaction, Work<'_>); 2], what: &str) -> Outcomes {
    let finish = |tx: &Transaction, write: Work<'_>| -> Result<bool, Stop> {
        match write(tx).and_then(|()| Ok(wait(tx.commit(&call(), write_id())).map(drop)?)) {
            Ok(()) => Ok(true),
            Err(Stop::Conflict(_)) => Ok(false),
            Err(Stop::Broken(seen) | Stop::Misread(seen)) => {
                Err(Broken(format!("one of two transactions ({what}) was not told Conflict: {seen}")))
            }
            Err(other) => Err(other),
        }
    };
    let [(first, first_writes), (second, second_writes)] = work;
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(move || {
            let ended = finish(&second, second_writes);
            drop(second);
            ended
        });
        let one = finish(&first, first_writes);
        // Dropped first, so that the other one waits for no lock of this one.
        drop(first);
        (one, other.join().expect("the other one does not panic"))
    });
    certain!(!(one? && other?), "both of two transactions committed: {what}");
    Ok(())
}

fn one_of_two(h: &Harness<'_>) -> Outcomes {
    for _ in 0..h.rounds(20, 500) {
        h.put(b"k", b"0")?;
        let (first, second) = (begin(h)?, begin(h)?);
        for tx in [&first, &second] {
            read(h, tx, b"k")?;
        }
        let change = |tx: &Transaction| -> Outcomes { Ok(write(h, tx, b"k", b"1")?) };
        not_both_commit(
            [(first, &change), (second, &change)],
            "each read a key and changed it (lost update)",
        )?;
    }
    Ok(())
}

fn skew_of_two(h: &Harness<'_>) -> Outcomes {
    for _ in 0..h.rounds(20, 500) {
        h.put(b"x", b"1")?;
        h.put(b"y", b"1")?;
        let (first, second) = (begin(h)?, begin(h)?);
        for tx in [&first, &second] {
            read(h, tx, b"x")?;
            read(h, tx, b"y")?;
        }
        let leave_x = |tx: &Transaction| -> Outcomes { Ok(write(h, tx, b"x", b"0")?) };
        let leave_y = |tx: &Transaction| -> Outcomes { Ok(write(h, tx, b"y", b"0")?) };
        not_both_commit(
            [(first, &leave_x), (second, &leave_y)],
            "each read what the other changed (write skew)",
        )?;
    }
    Ok(())
}

fn phantom_of_two(h: &Harness<'_>) -> Outcomes {
    for _ in 0..h.rounds(20, 500) {
        h.put(b"a", b"1")?;
        h.delete(b"b")?;
        h.delete(b"c")?;
        let (first, second) = (begin(h)?, begin(h)?);
        for tx in [&first, &second] {
            keys(h, tx)?;
        }
        let add_b = |tx: &Transaction| -> Outcomes { Ok(write(h, tx, b"b", b"1")?) };
        let add_c = |tx: &Transaction| -> Outcomes { Ok(write(h, tx, b"c", b"1")?) };
        not_both_commit(
            [(first, &add_b), (second, &add_c)],
            "each scanned where the other added a key (phantom)",
        )?;
    }
    Ok(())
}

fn no_write_skew(h: &Harness<'_>) -> Outcomes {
    for _ in 0..h.rounds(20, 2_000) {
        h.put(b"x", b"1")?;
        h.put(b"y", b"1")?;
        let leave = |own: &'static [u8]| {
            move |tx: &Transaction| -> Outcomes {
                let on_call = number(read(h, tx, b"x")?.as_ref()) + number(read(h, tx, b"y")?.as_ref());
                thread::sleep(OVERLAP);
                if on_call == 2 {
                    write(h, tx, own, b"0")?;
                }
                Ok(())
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
        move |tx: &Transaction| -> Outcomes {
            let count = keys(h, tx)?.len();
            thread::sleep(OVERLAP);
            Ok(write(h, tx, format!("{count:03}-{}", String::from_utf8_lossy(mark)).as_bytes(), mark)?)
        }
    };
    thread::scope(|scope| {
        let other = scope.spawn(move || (0..COUNTERS).try_for_each(|_| until_committed(h, add(b"o"))));
        let own = (0..COUNTERS).try_for_each(|_| until_committed(h, add(b"m")));
        own.and(other.join().expect("the other one does not panic"))
    })?;
    let tx = h.begin_read_only(h.capabilities().isolation)?;
    let counts: Vec<Vec<u8>> = keys(h, &tx)?.into_iter().map(|key| key.split_at(3).0.to_vec()).collect();
    let expected: Vec<Vec<u8>> = (0..2 * COUNTERS).map(|count| format!("{count:03}").into_bytes()).collect();
    promise!(
        counts == expected,
        "{} transactions that count keys and add one named by the count left phantoms: {}",
        2 * COUNTERS,
        counts.iter().map(|count| String::from_utf8_lossy(count)).collect::<Vec<_>>().join(" ")
    );
    Ok(())
}
