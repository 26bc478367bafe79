//! get, get_many, put and delete: reads return the written values.

use std::time::Duration;

use keyway_loader::{BatchMode, Key, Op, Put, Scan};

use crate::{
    Case,
    harness::{Harness, Misread, call, collect, promise, wait, write_id},
    verdict::Outcomes,
};

pub(crate) const CASES: &[Case] = &[
    Case::new("get_missing_key_is_none", "a miss is not an error", missing_key),
    Case::new(
        "put_then_get_returns_value_and_version",
        "get answers the value that was put last, with the version that the put answered",
        put_then_get,
    ),
    Case::new(
        "put_of_equal_bytes_changes_the_version",
        "a version changes on every write of a key, even if the value stays the same",
        equal_bytes,
    ),
    Case::new("put_value_of_any_bytes_comes_back", "a value is any bytes", any_bytes),
    Case::new("put_empty_value_is_not_absence", "an empty value is a value", empty_value),
    Case::new(
        "put_many_values_keeps_every_one",
        "every acknowledged write is there, however many came before it",
        many_values,
    ),
    Case::new(
        "keys_by_the_million_are_all_found",
        "a store finds each of its keys and scans over all of them, however many there are",
        by_the_million,
    )
    .within(Duration::from_mins(3)),
    Case::new(
        "get_many_answers_in_order",
        "get_many answers one place for each key, in the order of the keys, which may repeat and lie in several keyspaces",
        get_many_in_order,
    ),
    Case::new(
        "get_after_acknowledged_write_sees_it",
        "a read sees every write that was acknowledged before it began (read consistency: linearizable)",
        reads_are_current,
    )
    .when(super::claims::is_linearizable),
    Case::new(
        "delete_is_idempotent_and_truthful",
        "delete answers whether the key existed, and may be repeated",
        delete_is_idempotent,
    ),
];

fn missing_key(h: &Harness<'_>) -> Outcomes {
    promise!(h.get(b"missing")?.is_none(), "a key that was never written has a record");
    promise!(!h.delete(b"missing")?, "a key that was never written was said to have been deleted");
    Ok(())
}

fn put_then_get(h: &Harness<'_>) -> Outcomes {
    let first = h.put(b"k", b"one")?;
    let record = h.get(b"k")?.ok_or_else(|| Misread("a written key is missing".into()))?;
    promise!(record.value() == b"one", "another value came back than was written");
    promise!(record.version() == first, "get has another version than put answered");
    promise!(record.expires_at_ms().is_none(), "a record without expiry came back with one");
    let second = h.put(b"k", b"two")?;
    promise!(first != second, "a second write did not change the version");
    promise!(h.value(b"k")? == b"two", "the second write is not seen");
    promise!(
        h.get(b"k")?.is_some_and(|record| record.version() == second),
        "get has another version than the second put answered"
    );
    Ok(())
}

fn equal_bytes(h: &Harness<'_>) -> Outcomes {
    let first = h.put(b"k", b"same")?;
    let second = h.put(b"k", b"same")?;
    promise!(first != second, "a write of the same bytes answered the version {first:?} again");
    let third = h.put(b"other", b"same")?;
    promise!(
        h.get(b"k")?.is_some_and(|record| record.version() == second),
        "the write of another key, version {third:?}, changed this one's"
    );
    Ok(())
}

fn any_bytes(h: &Harness<'_>) -> Outcomes {
    let mut random = h.random(0);
    let largest = usize::try_from(h.capabilities().limits.value_bytes).unwrap_or(usize::MAX);
    let mut values: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    values.extend([
        vec![0; 1_000],
        vec![0xff; 1_000],
        (0..=255).collect(),
        b"\xc3\x28 is not UTF-8".to_vec(),
        b"trailing blanks and line ends  \r\n\0".to_vec(),
        b"'; DROP TABLE records; --".to_vec(),
    ]);
    for size in [4_095, 4_096, 4_097, 65_535, 65_536, 65_537, 1_000_003] {
        values.push((0..size.min(largest)).map(|_| random.number().to_le_bytes()[0]).collect());
    }
    for value in values {
        h.put(b"k", &value)?;
        let read = h.value(b"k")?;
        let differs = read.iter().zip(&value).position(|(one, other)| one != other);
        promise!(
            read == value,
            "a value of {} bytes came back with {}, and differs from byte {differs:?} on",
            value.len(),
            read.len()
        );
    }
    Ok(())
}

fn empty_value(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"")?;
    promise!(h.value(b"k")?.is_empty(), "an empty value came back with bytes");
    promise!(h.delete(b"k")?, "a key with an empty value was not there to delete");
    Ok(())
}

fn many_values(h: &Harness<'_>) -> Outcomes {
    let count = h.rounds(3_000, 100_000);
    let key = |index: usize| format!("{index:07}").into_bytes();
    for index in 0..count {
        h.put(&key(index), &index.to_le_bytes())?;
    }
    for index in 0..count {
        let value = h.value(&key(index))?;
        promise!(value == index.to_le_bytes(), "write {index} of {count} left another value");
    }
    Ok(())
}

fn by_the_million(h: &Harness<'_>) -> Outcomes {
    let count = h.rounds(20_000, 1_000_000);
    let at_once = usize::try_from(h.capabilities().limits.batch_ops).unwrap_or(usize::MAX).clamp(1, 500);
    let keys: Vec<Vec<u8>> = (0..count).map(|index| format!("{index:07}").into_bytes()).collect();
    for keys in keys.chunks(at_once) {
        // The key is its own value.
        let ops: Vec<Op<'_>> = keys.iter().map(|key| Op::put(h.key(key), key)).collect();
        let results = h.apply(&ops, BatchMode::Independent)?;
        let failed = results.iter().find_map(Result::err);
        promise!(failed.is_none(), "a put among {} failed: {failed:?}", keys.len());
    }
    let mut random = h.random(0);
    for _ in 0..2_000 {
        let Some(key) = keys.get(random.index(count)) else { continue };
        let value = h.value(key)?;
        promise!(value == *key, "of {count} keys {} holds {}", key.escape_ascii(), value.escape_ascii());
    }
    let scan = Scan::prefix(h.keyspace(), b"").keys_only().with_max_items(1_000);
    let found = collect(&h.capabilities(), scan, |page| h.scan(page))?;
    let differs = found.iter().zip(&keys).find(|((found, _), key)| found != *key);
    promise!(
        found.len() == count && differs.is_none(),
        "{count} keys are there, and a scan answered {}; they differ at {differs:?}",
        found.len()
    );
    Ok(())
}

fn get_many_in_order(h: &Harness<'_>) -> Outcomes {
    h.put(b"a", b"1")?;
    h.put(b"c", b"3")?;
    let other = format!("{}-other", h.keyspace());
    wait(h.store().put(&call(), Put::new(Key::new(&other, b"a"), b"other").with_write_id(write_id())))?;
    let keys = [h.key(b"c"), h.key(b"b"), h.key(b"a"), Key::new(&other, b"a"), h.key(b"c")];
    let records = wait(h.store().get_many(&call(), &keys))?;
    let values: Vec<Option<Vec<u8>>> =
        records.iter().map(|record| record.map(|record| record.value().to_vec())).collect();
    let expected =
        [Some(b"3".to_vec()), None, Some(b"1".to_vec()), Some(b"other".to_vec()), Some(b"3".to_vec())];
    promise!(values == expected, "get_many answered {values:?} for keys that hold {expected:?}");
    promise!(wait(h.store().get_many(&call(), &[]))?.is_empty(), "get_many of no keys answered some");
    let single = h.get(b"a")?.map(|record| record.version());
    let many = records.get(2).map(|record| record.version());
    promise!(single == many, "get_many has the version {many:?} of a key, and get {single:?}");
    Ok(())
}

fn reads_are_current(h: &Harness<'_>) -> Outcomes {
    for round in 0..h.rounds(2_000, 50_000) {
        let (key, value) = (format!("k{}", round % 7).into_bytes(), round.to_string().into_bytes());
        h.put(&key, &value)?;
        let read = h.value(&key)?;
        promise!(
            read == value,
            "after the write of {round} was acknowledged, get answered {}",
            read.escape_ascii()
        );
        if round % 5 == 0 {
            h.delete(&key)?;
            promise!(h.get(&key)?.is_none(), "after a delete was acknowledged, get answered a record");
        }
    }
    Ok(())
}

fn delete_is_idempotent(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"v")?;
    promise!(h.delete(b"k")?, "an existing key was said to be missing");
    promise!(h.get(b"k")?.is_none(), "a deleted key has a record");
    promise!(!h.delete(b"k")?, "a deleted key was said to exist");
    h.put(b"k", b"again")?;
    promise!(h.value(b"k")? == b"again", "a key that was written again after its delete has an old value");
    Ok(())
}
