//! Conditional writes: one winner, no lost update, nothing created by accident.

use std::thread;

use keyway_loader::{Condition, ErrorCode, Features, Put, Sharing, Version};

use super::workplace::Workplace;
use crate::{
    Case,
    harness::{Harness, Misread, again_on_conflict, call, promise, refused, wait, write_id},
    verdict::{Outcomes, Stop},
};

const RACERS: usize = 16;
const INCREMENTS: usize = 25;
/// Increments of each of two processes or openings.
const SHARED_INCREMENTS: usize = 200;

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "put_absent_on_existing_key_already_exists",
        "the condition Absent fails as AlreadyExists if the key exists, and changes nothing",
        absent_on_existing,
    ),
    Case::new(
        "put_stale_version_changes_nothing",
        "a condition on a version fails as PreconditionFailed if the key has another version, and changes nothing",
        stale_version,
    ),
    Case::new(
        "put_version_of_missing_key_never_creates",
        "a condition on a version fails as PreconditionFailed if the key does not exist, and creates nothing",
        missing_never_created,
    ),
    Case::new(
        "put_old_version_after_recreate_fails",
        "a version is unique for its key, also across delete and re-create: the one before fails",
        recreated,
    ),
    Case::new(
        "delete_with_stale_version_changes_nothing",
        "a delete whose condition fails removes nothing",
        conditional_delete,
    ),
    Case::new(
        "put_absent_by_many_has_one_winner",
        "of many that put one key on condition Absent at the same time one succeeds, and the others are told AlreadyExists",
        one_winner,
    ),
    Case::new(
        "put_version_by_many_loses_no_increment",
        "of many that put one key on condition of one version at the same time one succeeds: compare-and-set increments sum",
        increments_sum,
    ),
    Case::new(
        "put_that_is_refused_fails_no_other",
        "a put that is refused for its condition or its arguments fails by itself: others at the same time are done",
        refused_alone,
    ),
    Case::new(
        "put_version_by_two_openings_loses_no_increment",
        "if several openers may share a store in one process (sharing), conditions hold between them",
        two_openings,
    )
    .when(|capabilities| capabilities.sharing >= Sharing::ONE_PROCESS),
    Case::new(
        "put_version_by_two_processes_loses_no_increment",
        "if many hosts may open one store (sharing), conditions hold between them",
        two_processes,
    )
    .when(|capabilities| capabilities.sharing >= Sharing::MANY_HOSTS),
];

fn absent_on_existing(h: &Harness<'_>) -> Outcomes {
    h.put_when(b"k", b"first", Condition::Absent)?;
    let second = h.put_when(b"k", b"second", Condition::Absent);
    refused(second, ErrorCode::ALREADY_EXISTS, "a put of an existing key on condition Absent")?;
    promise!(h.value(b"k")? == b"first", "a refused put changed the value");
    h.delete(b"k")?;
    h.put_when(b"k", b"third", Condition::Absent)?;
    promise!(h.value(b"k")? == b"third", "a put on condition Absent of a deleted key is not seen");
    let delete = h.delete_when(b"k", Condition::Absent);
    refused(delete, ErrorCode::ALREADY_EXISTS, "a delete of an existing key on condition Absent")?;
    promise!(h.value(b"k")? == b"third", "a refused delete removed the record");
    Ok(())
}

fn stale_version(h: &Harness<'_>) -> Outcomes {
    let old = h.put(b"k", b"one")?;
    let new = h.put_when(b"k", b"two", Condition::Version(old))?;
    let stale = h.put_when(b"k", b"three", Condition::Version(old));
    refused(stale, ErrorCode::PRECONDITION_FAILED, "a put on a stale version")?;
    promise!(h.value(b"k")? == b"two", "a refused put changed the value");
    promise!(h.get(b"k")?.is_some_and(|record| record.version() == new), "a refused put changed the version");
    let other = h.put(b"other", b"two")?;
    let foreign = h.put_when(b"k", b"three", Condition::Version(other));
    refused(foreign, ErrorCode::PRECONDITION_FAILED, "a put on the version of another key")?;
    h.put_when(b"k", b"three", Condition::Version(new))?;
    Ok(())
}

fn missing_never_created(h: &Harness<'_>) -> Outcomes {
    let version = h.put(b"other", b"v")?;
    let put = h.put_when(b"k", b"v", Condition::Version(version));
    refused(put, ErrorCode::PRECONDITION_FAILED, "a put of a missing key on a version")?;
    promise!(h.get(b"k")?.is_none(), "a refused put created its key");
    let own = h.put(b"k", b"v")?;
    h.delete(b"k")?;
    let put = h.put_when(b"k", b"w", Condition::Version(own));
    refused(put, ErrorCode::PRECONDITION_FAILED, "a put of a deleted key on its last version")?;
    promise!(h.get(b"k")?.is_none(), "a refused put created a deleted key again");
    Ok(())
}

fn recreated(h: &Harness<'_>) -> Outcomes {
    let old = h.put(b"k", b"same")?;
    h.delete(b"k")?;
    let new = h.put(b"k", b"same")?;
    promise!(old != new, "delete and re-create repeated a version");
    let put = h.put_when(b"k", b"changed", Condition::Version(old));
    refused(put, ErrorCode::PRECONDITION_FAILED, "a put on the version before delete and re-create")?;
    promise!(h.value(b"k")? == b"same", "a refused put changed the value");
    Ok(())
}

fn conditional_delete(h: &Harness<'_>) -> Outcomes {
    let old = h.put(b"k", b"one")?;
    let new = h.put(b"k", b"two")?;
    let stale = h.delete_when(b"k", Condition::Version(old));
    refused(stale, ErrorCode::PRECONDITION_FAILED, "a delete on a stale version")?;
    promise!(h.value(b"k")? == b"two", "a refused delete removed the record");
    let deleted = h.delete_when(b"k", Condition::Version(new))?;
    promise!(deleted, "a delete on the present version said that the key was missing");
    promise!(h.get(b"k")?.is_none(), "a deleted key has a record");
    let again = h.delete_when(b"k", Condition::Version(new));
    refused(again, ErrorCode::PRECONDITION_FAILED, "a delete of a missing key on a version")
}

fn one_winner(h: &Harness<'_>) -> Outcomes {
    for round in 0..h.rounds(5, 500) {
        let key = round.to_string().into_bytes();
        race(h, &key)?;
    }
    Ok(())
}

fn race(h: &Harness<'_>, key: &[u8]) -> Outcomes {
    let winners: Vec<_> = thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let value = racer.to_string().into_bytes();
                scope.spawn(move || again_on_conflict(|| h.put_when(key, &value, Condition::Absent)))
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("a racer does not panic")).collect()
    });
    let won: Vec<usize> =
        (0..RACERS).filter(|racer| winners.get(*racer).is_some_and(Result::is_ok)).collect();
    promise!(
        won.len() == 1,
        "{} of {RACERS} racers created the same absent key; the first that was refused was told {:?}",
        won.len(),
        winners.iter().find_map(|winner| winner.as_ref().err())
    );
    let value = h.value(key)?;
    promise!(won.iter().all(|winner| value == winner.to_string().as_bytes()), "a loser's value was stored");
    for error in winners.into_iter().filter_map(Result::err) {
        refused::<()>(Err(error), ErrorCode::ALREADY_EXISTS, "the put of a racer that lost")?;
    }
    Ok(())
}

fn increments_sum(h: &Harness<'_>) -> Outcomes {
    h.put(b"counter", b"0")?;
    let times = h.rounds(INCREMENTS, 40 * INCREMENTS);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..RACERS)
            .map(|_| scope.spawn(move || (0..times).try_for_each(|_| increment(&h.store(), h.keyspace()))))
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    expect_sum(h, RACERS * times)
}

fn expect_sum(h: &Harness<'_>, expected: usize) -> Outcomes {
    let sum = String::from_utf8_lossy(&h.value(b"counter")?).into_owned();
    promise!(sum == expected.to_string(), "{expected} compare-and-set increments came to {sum}");
    Ok(())
}

/// Adds one to the counter, by compare-and-set.
fn increment(store: &keyway_loader::Store, keyspace: &str) -> Outcomes {
    let key = keyway_loader::Key::new(keyspace, b"counter");
    loop {
        let record =
            wait(store.get(&call(), key))?.ok_or_else(|| Misread("the counter is missing".into()))?;
        let count: usize = String::from_utf8_lossy(record.value()).parse().unwrap_or(0);
        let next = (count + 1).to_string();
        let put = keyway_loader::Put::new(key, next.as_bytes()).when(Condition::Version(record.version()));
        match wait(store.put(&call(), put.with_write_id(write_id()))) {
            Ok(_) => return Ok(()),
            Err(error)
                if error.code() == ErrorCode::PRECONDITION_FAILED || error.code() == ErrorCode::CONFLICT => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn two_openings(h: &Harness<'_>) -> Outcomes {
    h.put(b"counter", b"0")?;
    let other = h.open_another()?;
    if wait(other.get(&call(), h.key(b"counter")))?.is_none() {
        // A volatile store is a new one each time it is opened.
        promise!(
            h.capabilities().durability == keyway_loader::Durability::VOLATILE,
            "a second opening of the store does not see what the first has written"
        );
        wait(other.shutdown(&call()))?;
        return Err(Stop::Unproved("each opening of this volatile store is a new store".into()));
    }
    thread::scope(|scope| {
        let theirs = scope.spawn(|| (0..SHARED_INCREMENTS).try_for_each(|_| increment(&other, h.keyspace())));
        let own = (0..SHARED_INCREMENTS).try_for_each(|_| increment(&h.store(), h.keyspace()));
        own.and(theirs.join().expect("the other opening's thread does not panic"))
    })?;
    wait(other.shutdown(&call()))?;
    expect_sum(h, 2 * SHARED_INCREMENTS)
}

fn two_processes(h: &Harness<'_>) -> Outcomes {
    h.put(b"counter", b"0")?;
    let workers = [h.start_worker("increment", 0)?, h.start_worker("increment", 1)?];
    for worker in workers {
        worker.finish(h.patience())?;
    }
    expect_sum(h, 2 * SHARED_INCREMENTS)
}

/// One of the two processes.
pub(crate) fn work_increments(place: &Workplace<'_>) -> Outcomes {
    let keyspace = "put_version_by_two_processes_loses_no_increment";
    (0..SHARED_INCREMENTS).try_for_each(|_| increment(&place.store, keyspace))?;
    Ok(wait(place.store.shutdown(&call()))?)
}

/// Half of the threads write what must be refused, at the same time as the others: a store that commits writes together
/// sees both in one group.
fn refused_alone(h: &Harness<'_>) -> Outcomes {
    let expires = h.capabilities().features.contains(Features::EXPIRY);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..RACERS)
            .map(|racer| {
                scope.spawn(move || -> Outcomes {
                    for round in 0..INCREMENTS {
                        let key = format!("{racer}").into_bytes();
                        if racer % 2 == 0 {
                            again_on_conflict(|| h.put(&key, round.to_string().as_bytes()))?;
                            continue;
                        }
                        let put = Put::new(h.key(&key), b"v").with_write_id(write_id());
                        let put = if expires && round % 2 == 0 {
                            // A store takes it, or refuses it: no store needs times that far away.
                            put.expiring_at_ms(u64::MAX)
                        } else {
                            put.when(Condition::Version(Version::numbered(u64::MAX, u64::MAX)))
                        };
                        let _taken_or_refused = wait(h.store().put(&call(), put));
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread does not panic"))?;
        let last = (INCREMENTS - 1).to_string();
        for racer in (0..RACERS).step_by(2) {
            let found = h.get(racer.to_string().as_bytes())?;
            let found = found.map(|record| String::from_utf8_lossy(record.value()).into_owned());
            promise!(found.as_ref() == Some(&last), "{last} was acknowledged, and {found:?} was read");
        }
        Ok(())
    })
    .map_err(|stop: Stop| match stop {
        Stop::Broken(found) => Stop::Broken(format!("while puts are refused, another put failed: {found}")),
        other => other,
    })
}
