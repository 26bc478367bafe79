//! Transactions: own writes over a snapshot, isolation as claimed, nothing left of what was not committed.
//!
//! Some backends let a write transaction keep other writers waiting. Where a case needs two of them at a time, each
//! runs on a thread of its own and the case looks at what they left, not at how they took turns.

use std::thread;

use keyway_loader::{
    Begin, Capabilities, Condition, Delete, Error, ErrorCode, Features, Isolation, Put, Scan, Transaction,
    WriteId,
};

use crate::{
    Case,
    harness::{Broken, Harness, Outcomes, call, promise, refused, wait},
};

const AUDITORS: usize = 3;
const TRANSFERS: usize = 40;
/// Most transactions that a case opens at a time.
const MAX_OPEN: u64 = 10_000;
const ACCOUNTS: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];

pub(crate) const CASES: &[Case] = &[
    Case { name: "transaction_sees_own_writes", applies: any, run: own_writes },
    Case { name: "transaction_is_invisible_before_commit", applies: any, run: invisible },
    Case { name: "transaction_rolled_back_or_dropped_leaves_nothing", applies: any, run: leaves_nothing },
    Case { name: "transaction_condition_fails_as_outside", applies: any, run: conditions },
    Case { name: "transaction_finished_refuses_calls", applies: any, run: finished },
    Case { name: "transaction_read_only_refuses_writes", applies: any, run: read_only },
    Case { name: "transaction_beyond_limit_is_exhausted", applies: any, run: limit_of_open },
    Case { name: "transaction_reads_its_snapshot", applies: snapshot, run: reads_snapshot },
    Case { name: "transaction_loses_no_update", applies: snapshot, run: no_lost_update },
    Case { name: "transaction_auditors_see_constant_total", applies: snapshot, run: constant_total },
    Case { name: "transaction_has_no_write_skew", applies: serializable, run: no_write_skew },
    Case {
        name: "transaction_of_two_that_change_one_key_one_commits",
        applies: interleaves,
        run: one_of_two,
    },
    Case {
        name: "transaction_of_two_that_read_what_the_other_writes_one_commits",
        applies: interleaves_serializably,
        run: skew_of_two,
    },
    Case {
        name: "transaction_of_two_that_scan_where_the_other_adds_one_commits",
        applies: interleaves_serializably,
        run: phantom_of_two,
    },
    Case { name: "transaction_has_no_phantom", applies: serializable, run: no_phantom },
    Case {
        name: "transaction_isolation_not_declared_is_unsupported",
        applies: |c| !serializable(c),
        run: unsupported,
    },
];

fn any(capabilities: &Capabilities) -> bool {
    capabilities.isolation > Isolation::NONE
}

fn snapshot(capabilities: &Capabilities) -> bool {
    capabilities.isolation >= Isolation::SNAPSHOT
}

fn serializable(capabilities: &Capabilities) -> bool {
    capabilities.isolation >= Isolation::SERIALIZABLE
}

/// Whether two transactions that write can be open at a time.
fn interleaves(capabilities: &Capabilities) -> bool {
    snapshot(capabilities) && !capabilities.features.contains(Features::BLOCKS_WRITERS)
}

fn interleaves_serializably(capabilities: &Capabilities) -> bool {
    interleaves(capabilities) && serializable(capabilities)
}

fn begin(h: &Harness) -> Result<Box<dyn Transaction>, Error> {
    h.begin(h.capabilities().isolation)
}

fn read(h: &Harness, tx: &dyn Transaction, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    Ok(wait(tx.get(&call(), h.key(key)))?.map(|record| record.value().to_vec()))
}

fn write(h: &Harness, tx: &dyn Transaction, key: &[u8], value: &[u8]) -> Result<(), Error> {
    wait(tx.put(&call(), Put::new(h.key(key), value)))
}

fn keys(h: &Harness, tx: &dyn Transaction) -> Result<Vec<Vec<u8>>, Error> {
    let page = wait(tx.scan(&call(), Scan::prefix(h.keyspace(), b"")))?;
    Ok(page.entries().iter().map(|entry| entry.key().to_vec()).collect())
}

fn own_writes(h: &Harness) -> Outcomes {
    h.put(b"a", b"old")?;
    h.put(b"b", b"old")?;
    let tx = begin(h)?;
    write(h, &*tx, b"a", b"new")?;
    write(h, &*tx, b"c", b"new")?;
    promise!(
        wait(tx.delete(&call(), Delete::new(h.key(b"b"))))?,
        "a transaction's delete missed an existing key"
    );
    promise!(!wait(tx.delete(&call(), Delete::new(h.key(b"b"))))?, "a transaction deleted a key twice");
    promise!(read(h, &*tx, b"a")?.as_deref() == Some(b"new"), "a transaction does not see its own put");
    promise!(read(h, &*tx, b"b")?.is_none(), "a transaction does not see its own delete");
    promise!(
        keys(h, &*tx)? == [b"a".to_vec(), b"c".to_vec()],
        "a transaction's scan does not see its own writes"
    );
    let committed = wait(tx.commit(&call(), WriteId::default()))?;
    let names: Vec<_> = committed.keys().iter().map(|key| key.key().to_vec()).collect();
    promise!(names == [b"a".to_vec(), b"c".to_vec()], "a commit answered versions for {names:?}");
    for key in committed.keys() {
        let version = h.get(key.key())?.map(|record| record.version());
        promise!(version == Some(key.version()), "a commit answered another version than get has");
    }
    promise!(
        h.get(b"b")?.is_none() && h.value(b"a")? == b"new",
        "a commit left another state than its transaction"
    );
    Ok(())
}

fn invisible(h: &Harness) -> Outcomes {
    h.put(b"a", b"old")?;
    let tx = begin(h)?;
    write(h, &*tx, b"a", b"new")?;
    write(h, &*tx, b"b", b"new")?;
    promise!(h.value(b"a")? == b"old" && h.get(b"b")?.is_none(), "a read outside saw what was not committed");
    let page = h.scan(Scan::prefix(h.keyspace(), b""))?;
    promise!(page.len() == 1, "a scan outside saw what was not committed");
    wait(tx.commit(&call(), WriteId::default()))?;
    promise!(
        h.value(b"a")? == b"new" && h.value(b"b")? == b"new",
        "a commit is not visible to the next read"
    );
    Ok(())
}

fn leaves_nothing(h: &Harness) -> Outcomes {
    h.put(b"a", b"old")?;
    let tx = begin(h)?;
    write(h, &*tx, b"a", b"new")?;
    wait(tx.rollback(&call()))?;
    promise!(h.value(b"a")? == b"old", "a transaction that was rolled back changed something");
    let tx = begin(h)?;
    write(h, &*tx, b"a", b"new")?;
    drop(tx);
    promise!(h.value(b"a")? == b"old", "a transaction that was dropped changed something");
    h.put(b"a", b"after")?;
    Ok(())
}

fn conditions(h: &Harness) -> Outcomes {
    h.put(b"a", b"v")?;
    let tx = begin(h)?;
    let put = wait(tx.put(&call(), Put::new(h.key(b"a"), b"w").when(Condition::Absent)));
    refused(put, ErrorCode::ALREADY_EXISTS, "a transaction's put of an existing key on condition Absent")?;
    write(h, &*tx, b"b", b"w")?;
    let put = wait(tx.put(&call(), Put::new(h.key(b"b"), b"w").when(Condition::Absent)));
    refused(
        put,
        ErrorCode::ALREADY_EXISTS,
        "a transaction's put, on condition Absent, of a key that it wrote",
    )?;
    wait(tx.commit(&call(), WriteId::default()))?;
    promise!(h.value(b"b")? == b"w", "a refused put took the rest of its transaction with it");
    Ok(())
}

fn finished(h: &Harness) -> Outcomes {
    let tx = begin(h)?;
    write(h, &*tx, b"a", b"v")?;
    wait(tx.commit(&call(), WriteId::default()))?;
    refused(wait(tx.commit(&call(), WriteId::default())), ErrorCode::CLOSED, "a second commit")?;
    refused(read(h, &*tx, b"a"), ErrorCode::CLOSED, "a read after the commit")?;
    refused(write(h, &*tx, b"a", b"w"), ErrorCode::CLOSED, "a write after the commit")?;
    let tx = begin(h)?;
    wait(tx.rollback(&call()))?;
    refused(wait(tx.commit(&call(), WriteId::default())), ErrorCode::CLOSED, "a commit after the rollback")?;
    Ok(())
}

fn read_only(h: &Harness) -> Outcomes {
    h.put(b"a", b"v")?;
    let tx = h.begin_read_only(h.capabilities().isolation)?;
    promise!(
        read(h, &*tx, b"a")?.as_deref() == Some(b"v"),
        "a read-only transaction does not see what is there"
    );
    refused(write(h, &*tx, b"a", b"w"), ErrorCode::INVALID_ARGUMENT, "a write in a read-only transaction")?;
    wait(tx.commit(&call(), WriteId::default()))?;
    promise!(h.value(b"a")? == b"v", "a read-only transaction changed something");
    Ok(())
}

fn limit_of_open(h: &Harness) -> Outcomes {
    let limit = h.capabilities().limits.transactions;
    promise!(limit <= MAX_OPEN, "a backend that lets {limit} transactions be open cannot be tested for it");
    let open = || h.begin_read_only(h.capabilities().isolation);
    let mut all = (0..limit).map(|_| open()).collect::<Result<Vec<_>, Error>>()?;
    refused(open(), ErrorCode::RESOURCE_EXHAUSTED, "a transaction beyond the declared limit")?;
    drop(all.pop());
    drop(open()?);
    Ok(())
}

fn reads_snapshot(h: &Harness) -> Outcomes {
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
fn until_committed(h: &Harness, work: impl Fn(&dyn Transaction) -> Result<(), Error>) -> Outcomes {
    loop {
        let tx = begin(h)?;
        match work(&*tx).and_then(|()| wait(tx.commit(&call(), WriteId::default()))) {
            Ok(_) => return Ok(()),
            Err(error) if error.code() == ErrorCode::CONFLICT => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn number(value: Option<&Vec<u8>>) -> i64 {
    value.and_then(|value| String::from_utf8_lossy(value).parse().ok()).unwrap_or(0)
}

fn no_lost_update(h: &Harness) -> Outcomes {
    let increment = |tx: &dyn Transaction| {
        let count = number(read(h, tx, b"counter")?.as_ref());
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

fn constant_total(h: &Harness) -> Outcomes {
    for account in ACCOUNTS {
        h.put(account, b"100")?;
    }
    thread::scope(|scope| {
        let mover = scope.spawn(|| {
            (0..TRANSFERS).try_for_each(|round| {
                let pair = (ACCOUNTS.get(round % 4).copied(), ACCOUNTS.get((round + 1) % 4).copied());
                let (Some(from), Some(to)) = pair else { return Ok(()) };
                until_committed(h, |tx| {
                    let (had, has) = (number(read(h, tx, from)?.as_ref()), number(read(h, tx, to)?.as_ref()));
                    write(h, tx, from, (had - 7).to_string().as_bytes())?;
                    write(h, tx, to, (has + 7).to_string().as_bytes())
                })
            })
        });
        let auditors: Vec<_> =
            (0..AUDITORS).map(|_| scope.spawn(|| (0..TRANSFERS).try_for_each(|_| audit(h)))).collect();
        let audited = auditors.into_iter().try_for_each(|one| one.join().expect("an auditor does not panic"));
        mover.join().expect("the mover does not panic").and(audited)
    })?;
    audit(h)
}

fn audit(h: &Harness) -> Outcomes {
    let tx = h.begin_read_only(Isolation::SNAPSHOT)?;
    let mut total = 0;
    for account in ACCOUNTS {
        total += number(read(h, &*tx, account)?.as_ref());
    }
    wait(tx.rollback(&call()))?;
    promise!(total == 400, "an auditor counted {total} in accounts that hold 400");
    Ok(())
}

/// Commits both; exactly one may succeed, and the other must be told to try again.
fn exactly_one_commits(first: &dyn Transaction, second: &dyn Transaction, what: &str) -> Outcomes {
    wait(first.commit(&call(), WriteId::default()))?;
    match wait(second.commit(&call(), WriteId::default())) {
        Ok(_) => Err(Broken(format!("both of two transactions committed: {what}"))),
        Err(error) if error.code() == ErrorCode::CONFLICT => Ok(()),
        Err(error) => {
            Err(Broken(format!("the second of two transactions failed with {error}, not with Conflict")))
        }
    }
}

fn one_of_two(h: &Harness) -> Outcomes {
    h.put(b"k", b"0")?;
    let (first, second) = (begin(h)?, begin(h)?);
    for tx in [&*first, &*second] {
        read(h, tx, b"k")?;
        write(h, tx, b"k", b"1")?;
    }
    exactly_one_commits(&*first, &*second, "each read a key and changed it (lost update)")
}

fn skew_of_two(h: &Harness) -> Outcomes {
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

fn phantom_of_two(h: &Harness) -> Outcomes {
    h.put(b"a", b"1")?;
    let (first, second) = (begin(h)?, begin(h)?);
    for (tx, own) in [(&*first, b"b"), (&*second, b"c")] {
        keys(h, tx)?;
        write(h, tx, own, b"1")?;
    }
    exactly_one_commits(&*first, &*second, "each scanned where the other added a key (phantom)")
}

fn no_write_skew(h: &Harness) -> Outcomes {
    for _ in 0..10 {
        h.put(b"x", b"1")?;
        h.put(b"y", b"1")?;
        let leave = |own: &'static [u8]| {
            move |tx: &dyn Transaction| {
                let on_call = number(read(h, tx, b"x")?.as_ref()) + number(read(h, tx, b"y")?.as_ref());
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

fn no_phantom(h: &Harness) -> Outcomes {
    // Two transactions each count the keys and add one that is named by the count: serially, no name repeats.
    let add = |mark: &'static [u8]| {
        move |tx: &dyn Transaction| {
            let count = keys(h, tx)?.len();
            write(h, tx, format!("{count:03}-{}", String::from_utf8_lossy(mark)).as_bytes(), mark)
        }
    };
    thread::scope(|scope| {
        let other = scope.spawn(move || (0..10).try_for_each(|_| until_committed(h, add(b"o"))));
        let own = (0..10).try_for_each(|_| until_committed(h, add(b"m")));
        own.and(other.join().expect("the other one does not panic"))
    })?;
    let tx = h.begin_read_only(h.capabilities().isolation)?;
    let counts: Vec<Vec<u8>> = keys(h, &*tx)?.into_iter().map(|key| key.split_at(3).0.to_vec()).collect();
    let expected: Vec<Vec<u8>> = (0..20).map(|count| format!("{count:03}").into_bytes()).collect();
    promise!(
        counts == expected,
        "twenty transactions that count and add left {} keys with phantoms",
        counts.len()
    );
    Ok(())
}

fn unsupported(h: &Harness) -> Outcomes {
    let begin = Begin { isolation: Isolation::SERIALIZABLE, read_only: false };
    refused(
        wait(h.store().begin(&call(), begin)),
        ErrorCode::UNSUPPORTED,
        "an isolation that is not declared",
    )
}
