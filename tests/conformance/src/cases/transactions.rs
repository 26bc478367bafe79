//! Transactions: own writes over a snapshot, nothing left of what was not committed.

use std::{
    thread,
    time::{Duration, Instant},
};

use keyway_loader::{
    Begin, Condition, Delete, Error, ErrorCode, Features, Isolation, Put, Scan, Transaction,
};

use crate::{
    Case,
    harness::{Broken, Harness, KeyValue, call, collect, promise, refused, wait, write_id},
    verdict::{Outcomes, Stop},
};

/// How long the second of two who wait for each other may wait.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "transaction_sees_own_writes",
        "a transaction sees its own writes, in scans too, and its commit answers their versions",
        own_writes,
    )
    .when(super::claims::has_transactions),
    Case::new(
        "transaction_scan_merges_own_writes",
        "a transaction's scan is its snapshot with its own writes in it, in order, page by page",
        scan_merges,
    )
    .when(super::claims::has_transactions),
    Case::new(
        "transaction_rolled_back_or_dropped_leaves_nothing",
        "a transaction that is rolled back or dropped leaves no change, and blocks no other",
        leaves_nothing,
    )
    .when(super::claims::has_transactions),
    Case::new(
        "transaction_condition_fails_as_outside",
        "conditions in a transaction apply to what it sees, and fail as they do outside",
        conditions,
    )
    .when(super::claims::has_transactions),
    Case::new(
        "transaction_finished_refuses_calls",
        "after commit or rollback every call is Closed: no second commit",
        finished,
    )
    .when(super::claims::has_transactions),
    Case::new(
        "transaction_read_only_refuses_writes",
        "a write in a read-only transaction is InvalidArgument",
        read_only,
    )
    .when(super::claims::has_transactions),
    Case::new(
        "transaction_left_idle_keeps_nobody_from_reading",
        "a transaction that is open and does nothing keeps no reader waiting; dropped, no writer either",
        idle,
    )
    .when(super::claims::has_transactions),
    Case::new(
        "transaction_deadlock_becomes_conflict",
        "of two transactions that wait for each other one is told to try again, in time",
        deadlock,
    )
    .when(|capabilities| {
        super::claims::has_transactions(capabilities)
            && !capabilities.features.contains(Features::BLOCKS_WRITERS)
    }),
    Case::new(
        "transaction_isolation_not_declared_is_unsupported",
        "begin with an isolation beyond the declared one is Unsupported",
        unsupported,
    )
    .when(|capabilities| !super::claims::is_serializable(capabilities)),
];

pub(super) fn begin(h: &Harness<'_>) -> Result<Transaction, Error> {
    h.begin(h.capabilities().isolation)
}

pub(super) fn read(h: &Harness<'_>, tx: &Transaction, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    Ok(wait(tx.get(&call(), h.key(key)))?.map(|record| record.value().to_vec()))
}

pub(super) fn write(h: &Harness<'_>, tx: &Transaction, key: &[u8], value: &[u8]) -> Result<(), Error> {
    wait(tx.put(&call(), Put::new(h.key(key), value).with_write_id(write_id())))
}

pub(super) fn keys(h: &Harness<'_>, tx: &Transaction) -> Result<Vec<Vec<u8>>, Stop> {
    Ok(entries(h, tx, Scan::prefix(h.keyspace(), b""))?.into_iter().map(|(key, _)| key).collect())
}

fn entries(h: &Harness<'_>, tx: &Transaction, scan: Scan<'_>) -> Result<Vec<KeyValue>, Stop> {
    collect(&h.capabilities(), scan, |page| wait(tx.scan(&call(), page)))
}

fn own_writes(h: &Harness<'_>) -> Outcomes {
    h.put(b"a", b"old")?;
    h.put(b"b", b"old")?;
    let tx = begin(h)?;
    write(h, &tx, b"a", b"new")?;
    write(h, &tx, b"c", b"new")?;
    promise!(
        wait(tx.delete(&call(), Delete::new(h.key(b"b"))))?,
        "a transaction's delete missed an existing key"
    );
    promise!(!wait(tx.delete(&call(), Delete::new(h.key(b"b"))))?, "a transaction deleted a key twice");
    promise!(read(h, &tx, b"a")?.as_deref() == Some(b"new"), "a transaction does not see its own put");
    promise!(read(h, &tx, b"b")?.is_none(), "a transaction does not see its own delete");
    promise!(
        keys(h, &tx)? == [b"a".to_vec(), b"c".to_vec()],
        "a transaction's scan does not see its own writes"
    );
    let committed = wait(tx.commit(&call(), write_id()))?;
    let mut names: Vec<_> = committed.keys().iter().map(|key| key.key().to_vec()).collect();
    names.sort();
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

fn leaves_nothing(h: &Harness<'_>) -> Outcomes {
    h.put(b"a", b"old")?;
    let tx = begin(h)?;
    write(h, &tx, b"a", b"new")?;
    wait(tx.rollback(&call()))?;
    promise!(h.value(b"a")? == b"old", "a transaction that was rolled back changed something");
    let tx = begin(h)?;
    write(h, &tx, b"a", b"new")?;
    drop(tx);
    promise!(h.value(b"a")? == b"old", "a transaction that was dropped changed something");
    h.put(b"a", b"after")?;
    let tx = begin(h)?;
    write(h, &tx, b"a", b"last")?;
    wait(tx.commit(&call(), write_id()))?;
    promise!(h.value(b"a")? == b"last", "a transaction after one that was dropped left nothing");
    Ok(())
}

fn scan_merges(h: &Harness<'_>) -> Outcomes {
    let key = |index: usize| format!("{index:03}").into_bytes();
    let mut expected = std::collections::BTreeMap::new();
    for index in (0..60).filter(|index| index % 2 == 0) {
        h.put(&key(index), b"old")?;
        expected.insert(key(index), b"old".to_vec());
    }
    let tx = begin(h)?;
    for index in (0..60).filter(|index| index % 3 == 0) {
        if index % 4 == 0 {
            wait(tx.delete(&call(), Delete::new(h.key(&key(index))).with_write_id(write_id())))?;
            expected.remove(&key(index));
        } else {
            write(h, &tx, &key(index), b"new")?;
            expected.insert(key(index), b"new".to_vec());
        }
    }
    let found = entries(h, &tx, Scan::prefix(h.keyspace(), b"").with_max_items(7))?;
    let expected: Vec<_> = expected.into_iter().collect();
    let differs = found.iter().zip(&expected).find(|(one, other)| one != other);
    promise!(
        found == expected,
        "a transaction's scan answered {} records and {} are there for it; they differ at {differs:?}",
        found.len(),
        expected.len()
    );
    Ok(wait(tx.rollback(&call()))?)
}

fn idle(h: &Harness<'_>) -> Outcomes {
    h.put(b"a", b"v")?;
    let tx = begin(h)?;
    write(h, &tx, b"a", b"w")?;
    for _ in 0..20 {
        promise!(h.value(b"a")? == b"v", "a read during an open transaction saw what was not committed");
        h.scan(Scan::prefix(h.keyspace(), b""))?;
    }
    let readers = h.begin_read_only(h.capabilities().isolation)?;
    promise!(
        read(h, &readers, b"a")?.as_deref() == Some(b"v"),
        "a read-only transaction during an open one saw what was not committed"
    );
    drop((tx, readers));
    let begun = Instant::now();
    h.put(b"a", b"after")?;
    promise!(
        begun.elapsed() < PATIENCE,
        "a put waited {} s for a transaction that was dropped",
        begun.elapsed().as_secs()
    );
    Ok(())
}

fn deadlock(h: &Harness<'_>) -> Outcomes {
    h.put(b"a", b"0")?;
    h.put(b"b", b"0")?;
    let begun = Instant::now();
    let (first, second) = (begin(h)?, begin(h)?);
    write(h, &first, b"a", b"1")?;
    write(h, &second, b"b", b"2")?;
    // Each writes the key that the other has written. The refused one is dropped, and the other goes on.
    let finish = |tx: Transaction, key: &'static [u8], value: &'static [u8]| -> Result<bool, Stop> {
        let done = write(h, &tx, key, value).and_then(|()| wait(tx.commit(&call(), write_id())));
        match done {
            Ok(_) => Ok(true),
            Err(error) if error.code() == ErrorCode::CONFLICT => Ok(false),
            Err(error) => {
                Err(Broken(format!("a transaction in a deadlock failed with {error}, not with Conflict")))
            }
        }
    };
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(move || finish(second, b"a", b"2"));
        (finish(first, b"b", b"1"), other.join().expect("the other one does not panic"))
    });
    let (one, other) = (one?, other?);
    promise!(
        begun.elapsed() < PATIENCE,
        "two transactions waited {} s for each other",
        begun.elapsed().as_secs()
    );
    let (a, b) = (h.value(b"a")?, h.value(b"b")?);
    let expected: &[&[u8]] = match (one, other) {
        (true, true) => &[b"1", b"2"],
        (true, false) => &[b"1"],
        (false, true) => &[b"2"],
        (false, false) => &[b"0"],
    };
    promise!(
        a == b && expected.contains(&a.as_slice()),
        "transactions that committed ({one}, {other}) left {} and {}",
        a.escape_ascii(),
        b.escape_ascii()
    );
    Ok(())
}

fn conditions(h: &Harness<'_>) -> Outcomes {
    h.put(b"a", b"v")?;
    let version = h.put(b"c", b"v")?;
    let stale = h.put(b"d", b"old")?;
    h.put(b"d", b"v")?;
    let tx = begin(h)?;
    let put = |key: &'static [u8], value: &'static [u8], condition: Condition| {
        let put = Put::new(h.key(key), value).when(condition).with_write_id(write_id());
        wait(tx.put(&call(), put))
    };
    let exists = ErrorCode::ALREADY_EXISTS;
    refused(
        put(b"a", b"w", Condition::Absent),
        exists,
        "a transaction's put of an existing key on condition Absent",
    )?;
    write(h, &tx, b"b", b"w")?;
    let own = put(b"b", b"x", Condition::Absent);
    refused(own, exists, "a transaction's put, on condition Absent, of a key that it wrote")?;
    let failed = ErrorCode::PRECONDITION_FAILED;
    refused(put(b"d", b"w", Condition::Version(stale)), failed, "a transaction's put on a stale version")?;
    refused(
        put(b"missing", b"w", Condition::Version(stale)),
        failed,
        "a transaction's put of a missing key on a version",
    )?;
    let delete = Delete::new(h.key(b"d")).when(Condition::Version(stale)).with_write_id(write_id());
    refused(wait(tx.delete(&call(), delete)), failed, "a transaction's delete on a stale version")?;
    put(b"c", b"w", Condition::Version(version))?;
    wait(tx.commit(&call(), write_id()))?;
    let left: Vec<_> = h.entries(b"")?.into_iter().map(|(key, value)| [key, value].concat()).collect();
    let expected = [b"av".to_vec(), b"bw".to_vec(), b"cw".to_vec(), b"dv".to_vec()];
    promise!(
        left == expected,
        "a transaction with refused writes left other keys and values than it was told: {left:?}"
    );
    Ok(())
}

fn finished(h: &Harness<'_>) -> Outcomes {
    let tx = begin(h)?;
    write(h, &tx, b"a", b"v")?;
    wait(tx.commit(&call(), write_id()))?;
    refused(wait(tx.commit(&call(), write_id())), ErrorCode::CLOSED, "a second commit")?;
    refused(read(h, &tx, b"a"), ErrorCode::CLOSED, "a read after the commit")?;
    refused(write(h, &tx, b"a", b"w"), ErrorCode::CLOSED, "a write after the commit")?;
    let tx = begin(h)?;
    wait(tx.rollback(&call()))?;
    refused(wait(tx.commit(&call(), write_id())), ErrorCode::CLOSED, "a commit after the rollback")?;
    Ok(())
}

fn read_only(h: &Harness<'_>) -> Outcomes {
    h.put(b"a", b"v")?;
    let tx = h.begin_read_only(h.capabilities().isolation)?;
    promise!(
        read(h, &tx, b"a")?.as_deref() == Some(b"v"),
        "a read-only transaction does not see what is there"
    );
    refused(write(h, &tx, b"a", b"w"), ErrorCode::INVALID_ARGUMENT, "a write in a read-only transaction")?;
    wait(tx.commit(&call(), write_id()))?;
    promise!(h.value(b"a")? == b"v", "a read-only transaction changed something");
    Ok(())
}

fn unsupported(h: &Harness<'_>) -> Outcomes {
    let begin = Begin { isolation: Isolation::SERIALIZABLE, read_only: false };
    refused(
        wait(h.store().begin(&call(), begin)),
        ErrorCode::UNSUPPORTED,
        "an isolation that is not declared",
    )
}
