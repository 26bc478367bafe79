//! apply: all or nothing, or each for itself.

use keyway_loader::{
    Batch, BatchMode, BatchResult, Condition, Error, ErrorCode, Features, Key, Op, Outcome, WriteId,
};

use crate::{
    Case,
    harness::{Broken, Harness, Outcomes, call, promise, refused, wait},
};

pub(crate) const CASES: &[Case] = &[
    Case { name: "apply_atomic_is_all_or_nothing", applies: atomic, run: all_or_nothing },
    Case { name: "apply_atomic_conditions_see_state_before", applies: atomic, run: state_before },
    Case { name: "apply_atomic_spans_keyspaces", applies: atomic, run: spans_keyspaces },
    Case { name: "apply_key_named_twice_is_invalid", applies: |_| true, run: named_twice },
    Case { name: "apply_independent_answers_per_item", applies: |_| true, run: per_item },
    Case { name: "apply_atomic_not_declared_is_unsupported", applies: |c| !atomic(c), run: unsupported },
];

fn atomic(capabilities: &keyway_loader::Capabilities) -> bool {
    capabilities.features.contains(Features::ATOMIC_BATCH)
}

fn apply(h: &Harness, ops: &[Op<'_>], mode: BatchMode) -> Result<BatchResult, Error> {
    wait(h.store().apply(&call(), Batch::new(ops, mode, WriteId::default())))
}

fn all_or_nothing(h: &Harness) -> Outcomes {
    let version = h.put(b"kept", b"old")?;
    let stale = h.put(b"stale", b"1")?;
    h.put(b"stale", b"2")?;
    let ops = [
        Op::put(h.key(b"new"), b"v"),
        Op::delete(h.key(b"kept")).when(Condition::Version(version)),
        Op::check(h.key(b"stale"), Condition::Version(stale)),
    ];
    let result = apply(h, &ops, BatchMode::Atomic);
    let index = result.as_ref().err().and_then(Error::index);
    refused(result, ErrorCode::PRECONDITION_FAILED, "an atomic batch with a failing check")?;
    promise!(index == Some(2), "the failing operation was said to be {index:?}, and it is 2");
    promise!(h.get(b"new")?.is_none(), "a refused atomic batch created a key");
    promise!(h.value(b"kept")? == b"old", "a refused atomic batch deleted a key");

    let (done, _) = ops.split_at(2);
    let results = apply(h, done, BatchMode::Atomic)?;
    let existed: Vec<bool> =
        results.iter().filter_map(Result::ok).map(keyway_loader::OpResult::existed).collect();
    promise!(existed == [false, true], "an atomic batch said that its keys existed: {existed:?}");
    let written = results.iter().next().and_then(Result::ok).map(keyway_loader::OpResult::version);
    let read = h.get(b"new")?.map(|record| record.version());
    promise!(written.is_some() && written == read, "a batch answered another version than get has");
    promise!(h.get(b"kept")?.is_none(), "a key that an atomic batch deleted has a record");
    Ok(())
}

fn state_before(h: &Harness) -> Outcomes {
    h.put(b"a", b"1")?;
    let ops = [Op::delete(h.key(b"a")), Op::put(h.key(b"b"), b"2").when(Condition::Absent)];
    apply(h, &ops, BatchMode::Atomic)?;
    let ops = [Op::put(h.key(b"a"), b"1").when(Condition::Absent), Op::delete(h.key(b"b"))];
    apply(h, &ops, BatchMode::Atomic)?;
    promise!(
        h.get(b"a")?.is_some() && h.get(b"b")?.is_none(),
        "a batch left another state than it describes"
    );
    Ok(())
}

fn spans_keyspaces(h: &Harness) -> Outcomes {
    let other = format!("{}-other", h.keyspace());
    let ops = [Op::put(h.key(b"k"), b"1"), Op::put(Key::new(&other, b"k"), b"2")];
    apply(h, &ops, BatchMode::Atomic)?;
    let record = wait(h.store().get(&call(), Key::new(&other, b"k")))?;
    promise!(
        record.is_some_and(|record| record.value() == b"2"),
        "a batch did not reach the second keyspace"
    );
    promise!(h.value(b"k")? == b"1", "a batch did not reach the first keyspace");
    Ok(())
}

fn named_twice(h: &Harness) -> Outcomes {
    let ops = [Op::put(h.key(b"k"), b"1"), Op::put(h.key(b"l"), b"1"), Op::put(h.key(b"k"), b"2")];
    for mode in [BatchMode::Independent, BatchMode::Atomic] {
        if mode == BatchMode::Atomic && !atomic(&h.capabilities()) {
            continue;
        }
        refused(apply(h, &ops, mode), ErrorCode::INVALID_ARGUMENT, "a batch that names a key twice")?;
        promise!(h.get(b"k")?.is_none() && h.get(b"l")?.is_none(), "a refused batch wrote something");
    }
    Ok(())
}

fn per_item(h: &Harness) -> Outcomes {
    h.put(b"there", b"old")?;
    h.put(b"also there", b"old")?;
    let ops = [
        Op::put(h.key(b"a"), b"1"),
        Op::put(h.key(b"there"), b"new").when(Condition::Absent),
        Op::delete(h.key(b"missing")),
        Op::check(h.key(b"also there"), Condition::Absent),
        Op::put(h.key(b"b"), b"2"),
    ];
    let results = apply(h, &ops, BatchMode::Independent)?;
    promise!(
        results.len() == ops.len(),
        "{} operations were answered with {} results",
        ops.len(),
        results.len()
    );
    let codes: Vec<Option<ErrorCode>> = results.iter().map(|result| result.err().map(Error::code)).collect();
    let refused = Some(ErrorCode::ALREADY_EXISTS);
    promise!(codes == [None, refused, None, refused, None], "an independent batch answered {codes:?}");
    let proven = results.iter().filter_map(Result::err).all(|error| error.outcome() == Outcome::NOT_APPLIED);
    promise!(proven, "a refused operation has an outcome other than NotApplied");
    promise!(
        h.value(b"a")? == b"1" && h.value(b"b")? == b"2",
        "an operation beside a refused one was not done"
    );
    promise!(h.value(b"there")? == b"old", "a refused operation was done");
    Ok(())
}

fn unsupported(h: &Harness) -> Outcomes {
    let ops = [Op::put(h.key(b"k"), b"1")];
    refused(
        apply(h, &ops, BatchMode::Atomic),
        ErrorCode::UNSUPPORTED,
        "an atomic batch that is not declared",
    )?;
    promise!(h.get(b"k")?.is_none(), "a refused batch wrote something");
    Result::<(), Broken>::Ok(())
}
