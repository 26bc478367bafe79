//! Conditional writes: one winner, no lost update, nothing created by accident.

use std::thread;

use keyway_loader::{Condition, Delete, ErrorCode};

use crate::{
    Case,
    harness::{Broken, Harness, Outcomes, call, promise, refused, wait},
};

const RACERS: usize = 16;
const INCREMENTS: usize = 25;

pub(crate) const CASES: &[Case] = &[
    Case { name: "put_absent_on_existing_key_already_exists", applies: |_| true, run: absent_on_existing },
    Case { name: "put_stale_version_changes_nothing", applies: |_| true, run: stale_version },
    Case { name: "put_version_of_missing_key_never_creates", applies: |_| true, run: missing_never_created },
    Case { name: "put_old_version_after_recreate_fails", applies: |_| true, run: recreated },
    Case { name: "delete_with_stale_version_changes_nothing", applies: |_| true, run: conditional_delete },
    Case { name: "put_absent_by_many_has_one_winner", applies: |_| true, run: one_winner },
    Case { name: "put_version_by_many_loses_no_increment", applies: |_| true, run: increments_sum },
];

fn absent_on_existing(h: &Harness) -> Outcomes {
    h.put_when(b"k", b"first", Condition::Absent)?;
    let second = h.put_when(b"k", b"second", Condition::Absent);
    refused(second, ErrorCode::ALREADY_EXISTS, "a put of an existing key on condition Absent")?;
    promise!(h.value(b"k")? == b"first", "a refused put changed the value");
    h.delete(b"k")?;
    h.put_when(b"k", b"third", Condition::Absent)?;
    Ok(())
}

fn stale_version(h: &Harness) -> Outcomes {
    let old = h.put(b"k", b"one")?;
    let new = h.put_when(b"k", b"two", Condition::Version(old))?;
    let stale = h.put_when(b"k", b"three", Condition::Version(old));
    refused(stale, ErrorCode::PRECONDITION_FAILED, "a put on a stale version")?;
    promise!(h.value(b"k")? == b"two", "a refused put changed the value");
    promise!(h.get(b"k")?.is_some_and(|record| record.version() == new), "a refused put changed the version");
    Ok(())
}

fn missing_never_created(h: &Harness) -> Outcomes {
    let version = h.put(b"other", b"v")?;
    let put = h.put_when(b"k", b"v", Condition::Version(version));
    refused(put, ErrorCode::PRECONDITION_FAILED, "a put of a missing key on a version")?;
    promise!(h.get(b"k")?.is_none(), "a refused put created its key");
    Ok(())
}

fn recreated(h: &Harness) -> Outcomes {
    let old = h.put(b"k", b"same")?;
    h.delete(b"k")?;
    let new = h.put(b"k", b"same")?;
    promise!(old != new, "delete and re-create repeated a version");
    let put = h.put_when(b"k", b"changed", Condition::Version(old));
    refused(put, ErrorCode::PRECONDITION_FAILED, "a put on the version before delete and re-create")?;
    Ok(())
}

fn conditional_delete(h: &Harness) -> Outcomes {
    let old = h.put(b"k", b"one")?;
    let new = h.put(b"k", b"two")?;
    let delete = |condition| wait(h.store().delete(&call(), Delete::new(h.key(b"k")).when(condition)));
    let stale = delete(Condition::Version(old));
    refused(stale, ErrorCode::PRECONDITION_FAILED, "a delete on a stale version")?;
    promise!(h.value(b"k")? == b"two", "a refused delete removed the record");
    promise!(
        delete(Condition::Version(new))?,
        "a delete on the present version said that the key was missing"
    );
    promise!(h.get(b"k")?.is_none(), "a deleted key has a record");
    Ok(())
}

fn one_winner(h: &Harness) -> Outcomes {
    let winners: Vec<_> = thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                scope.spawn(move || h.put_when(b"k", racer.to_string().as_bytes(), Condition::Absent))
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("a racer does not panic")).collect()
    });
    let won: Vec<usize> =
        (0..RACERS).filter(|racer| winners.get(*racer).is_some_and(Result::is_ok)).collect();
    promise!(won.len() == 1, "{} of {RACERS} racers created the same absent key", won.len());
    let value = h.value(b"k")?;
    promise!(won.iter().all(|winner| value == winner.to_string().as_bytes()), "a loser's value was stored");
    for error in winners.into_iter().filter_map(Result::err) {
        promise!(error.code() == ErrorCode::ALREADY_EXISTS, "a loser was told {error}");
    }
    Ok(())
}

fn increments_sum(h: &Harness) -> Outcomes {
    h.put(b"counter", b"0")?;
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..RACERS).map(|_| scope.spawn(|| (0..INCREMENTS).try_for_each(|_| increment(h)))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    let sum = String::from_utf8_lossy(&h.value(b"counter")?).into_owned();
    promise!(
        sum == (RACERS * INCREMENTS).to_string(),
        "{RACERS} times {INCREMENTS} increments came to {sum}"
    );
    Ok(())
}

fn increment(h: &Harness) -> Outcomes {
    loop {
        let record = h.get(b"counter")?.ok_or_else(|| Broken("the counter is missing".into()))?;
        let count: usize = String::from_utf8_lossy(record.value()).parse().unwrap_or(0);
        let next = (count + 1).to_string();
        match h.put_when(b"counter", next.as_bytes(), Condition::Version(record.version())) {
            Ok(_) => return Ok(()),
            Err(error)
                if error.code() == ErrorCode::PRECONDITION_FAILED || error.code() == ErrorCode::CONFLICT => {}
            Err(error) => return Err(error.into()),
        }
    }
}
