//! apply: all or nothing, or each for itself.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use keyway_loader::{BatchMode, Condition, Error, ErrorCode, Isolation, Key, Op, OpResult, Outcome, Record};

use crate::{
    Case,
    harness::{Harness, again_on_conflict, call, certain, promise, refused, wait},
    verdict::Outcomes,
};

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "apply_atomic_is_all_or_nothing",
        "an atomic batch is done whole or not at all, and its error has the index of the operation that failed",
        all_or_nothing,
    )
    .when(super::claims::is_atomic),
    Case::new(
        "apply_atomic_conditions_see_state_before",
        "the conditions of a batch see the state before the batch",
        state_before,
    )
    .when(super::claims::is_atomic),
    Case::new("apply_atomic_spans_keyspaces", "a batch may span keyspaces", spans_keyspaces).when(super::claims::is_atomic),
    Case::new(
        "apply_atomic_is_never_seen_half",
        "no reader sees part of an atomic batch: keys that change only together are equal in each snapshot",
        never_half,
    )
    .when(|capabilities| super::claims::is_atomic(capabilities) && super::claims::is_linearizable(capabilities)),
    Case::new(
        "apply_key_named_twice_is_invalid",
        "a batch names a key once; one that names it twice is InvalidArgument and writes nothing",
        named_twice,
    ),
    Case::new(
        "apply_independent_answers_per_item",
        "an independent batch does each operation for itself and answers one result for each, in order",
        per_item,
    ),
    Case::new("apply_of_nothing_is_done", "a batch of no operations changes nothing and succeeds", nothing),
    Case::new(
        "apply_atomic_not_declared_is_unsupported",
        "an atomic batch is Unsupported if ATOMIC_BATCH is not declared, and never quietly done otherwise",
        unsupported,
    )
    .when(|capabilities| !super::claims::is_atomic(capabilities)),
];

fn all_or_nothing(h: &Harness<'_>) -> Outcomes {
    let version = h.put(b"kept", b"old")?;
    let stale = h.put(b"stale", b"1")?;
    h.put(b"stale", b"2")?;
    let ops = [
        Op::put(h.key(b"new"), b"v"),
        Op::delete(h.key(b"kept")).when(Condition::Version(version)),
        Op::check(h.key(b"stale"), Condition::Version(stale)),
    ];
    let result = h.apply(&ops, BatchMode::Atomic);
    let index = result.as_ref().err().and_then(Error::index);
    refused(result, ErrorCode::PRECONDITION_FAILED, "an atomic batch with a failing check")?;
    certain!(index == Some(2), "the failing operation was said to be {index:?}, and it is 2");
    promise!(h.get(b"new")?.is_none(), "a refused atomic batch created a key");
    promise!(h.value(b"kept")? == b"old", "a refused atomic batch deleted a key");

    let (done, _) = ops.split_at(2);
    let results = h.apply(done, BatchMode::Atomic)?;
    let existed: Vec<bool> = results.iter().filter_map(Result::ok).map(OpResult::existed).collect();
    promise!(existed == [false, true], "an atomic batch said that its keys existed: {existed:?}");
    let written = results.iter().next().and_then(Result::ok).map(OpResult::version);
    let read = h.get(b"new")?.map(|record| record.version());
    promise!(written.is_some() && written == read, "a batch answered another version than get has");
    promise!(h.get(b"kept")?.is_none(), "a key that an atomic batch deleted has a record");
    Ok(())
}

fn state_before(h: &Harness<'_>) -> Outcomes {
    h.put(b"a", b"1")?;
    let ops = [Op::delete(h.key(b"a")), Op::put(h.key(b"b"), b"2").when(Condition::Absent)];
    h.apply(&ops, BatchMode::Atomic)?;
    let ops = [Op::put(h.key(b"a"), b"1").when(Condition::Absent), Op::delete(h.key(b"b"))];
    h.apply(&ops, BatchMode::Atomic)?;
    promise!(
        h.get(b"a")?.is_some() && h.get(b"b")?.is_none(),
        "a batch left another state than it describes"
    );
    Ok(())
}

fn spans_keyspaces(h: &Harness<'_>) -> Outcomes {
    let other = format!("{}-other", h.keyspace());
    let ops = [Op::put(h.key(b"k"), b"1"), Op::put(Key::new(&other, b"k"), b"2")];
    h.apply(&ops, BatchMode::Atomic)?;
    let record = wait(h.store().get(&call(), Key::new(&other, b"k")))?;
    promise!(
        record.is_some_and(|record| record.value() == b"2"),
        "a batch did not reach the second keyspace"
    );
    promise!(h.value(b"k")? == b"1", "a batch did not reach the first keyspace");
    Ok(())
}

fn never_half(h: &Harness<'_>) -> Outcomes {
    let write = |number: u64| {
        let value = number.to_string().into_bytes();
        let ops = [Op::put(h.key(b"left"), &value), Op::put(h.key(b"right"), &value)];
        again_on_conflict(|| h.apply(&ops, BatchMode::Atomic)).map(drop)
    };
    write(0)?;
    let (written, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<(), Error> {
            while !stop.load(Ordering::Relaxed) {
                write(1 + written.load(Ordering::Relaxed))?;
                written.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let looked = (0..h.rounds(300, 20_000)).try_for_each(|_| {
            let before = written.load(Ordering::Relaxed);
            while written.load(Ordering::Relaxed) == before && !writer.is_finished() {
                thread::yield_now();
            }
            look_for_halves(h)
        });
        stop.store(true, Ordering::Relaxed);
        looked.and(writer.join().expect("the writer does not panic").map_err(Into::into))
    })
}

fn look_for_halves(h: &Harness<'_>) -> Outcomes {
    let number =
        |record: Option<Record>| -> Option<u64> { String::from_utf8_lossy(record?.value()).parse().ok() };
    if super::claims::has_snapshots(&h.capabilities()) {
        let tx = h.begin_read_only(Isolation::SNAPSHOT)?;
        let left = number(wait(tx.get(&call(), h.key(b"left")))?);
        let right = number(wait(tx.get(&call(), h.key(b"right")))?);
        wait(tx.rollback(&call()))?;
        promise!(left == right, "a snapshot has one half of a batch: {left:?} and {right:?}");
    }
    // Both only grow, so the one that is read second is never the smaller one.
    let (left, right) = (number(h.get(b"left")?), number(h.get(b"right")?));
    promise!(
        right >= left,
        "after one half of a batch was read as {left:?}, the other was read as {right:?}"
    );
    let (right, left) = (number(h.get(b"right")?), number(h.get(b"left")?));
    promise!(
        left >= right,
        "after one half of a batch was read as {right:?}, the other was read as {left:?}"
    );
    Ok(())
}

fn nothing(h: &Harness<'_>) -> Outcomes {
    let results = h.apply(&[], BatchMode::Independent)?;
    promise!(results.is_empty(), "a batch of no operations was answered with {} results", results.len());
    if super::claims::is_atomic(&h.capabilities()) {
        let results = h.apply(&[], BatchMode::Atomic)?;
        promise!(
            results.is_empty(),
            "an atomic batch of no operations was answered with {} results",
            results.len()
        );
    }
    Ok(())
}

fn named_twice(h: &Harness<'_>) -> Outcomes {
    let ops = [Op::put(h.key(b"k"), b"1"), Op::put(h.key(b"l"), b"1"), Op::delete(h.key(b"k"))];
    for mode in [BatchMode::Independent, BatchMode::Atomic] {
        if mode == BatchMode::Atomic && !super::claims::is_atomic(&h.capabilities()) {
            continue;
        }
        refused(h.apply(&ops, mode), ErrorCode::INVALID_ARGUMENT, "a batch that names a key twice")?;
        promise!(h.get(b"k")?.is_none() && h.get(b"l")?.is_none(), "a refused batch wrote something");
    }
    Ok(())
}

fn per_item(h: &Harness<'_>) -> Outcomes {
    h.put(b"there", b"old")?;
    h.put(b"also there", b"old")?;
    let ops = [
        Op::put(h.key(b"a"), b"1"),
        Op::put(h.key(b"there"), b"new").when(Condition::Absent),
        Op::delete(h.key(b"missing")),
        Op::check(h.key(b"also there"), Condition::Absent),
        Op::put(h.key(b"b"), b"2"),
    ];
    let results = h.apply(&ops, BatchMode::Independent)?;
    certain!(
        results.len() == ops.len(),
        "{} operations were answered with {} results",
        ops.len(),
        results.len()
    );
    let codes: Vec<Option<ErrorCode>> = results.iter().map(|result| result.err().map(Error::code)).collect();
    let refused = Some(ErrorCode::ALREADY_EXISTS);
    certain!(codes == [None, refused, None, refused, None], "an independent batch answered {codes:?}");
    let proven = results.iter().filter_map(Result::err).all(|error| error.outcome() == Outcome::NOT_APPLIED);
    certain!(proven, "a refused operation has an outcome other than NotApplied");
    promise!(
        h.value(b"a")? == b"1" && h.value(b"b")? == b"2",
        "an operation in a batch with a refused one was not done"
    );
    promise!(h.value(b"there")? == b"old", "a refused operation was done");
    Ok(())
}

fn unsupported(h: &Harness<'_>) -> Outcomes {
    let ops = [Op::put(h.key(b"k"), b"1")];
    refused(
        h.apply(&ops, BatchMode::Atomic),
        ErrorCode::UNSUPPORTED,
        "an atomic batch that is not declared",
    )?;
    promise!(h.get(b"k")?.is_none(), "a refused batch wrote something");
    Ok(())
}
