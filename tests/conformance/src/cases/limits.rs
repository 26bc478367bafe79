//! Declared limits: one below, at, and one beyond.

use std::time::{Duration, Instant};

use keyway_loader::{BatchMode, Begin, Error, ErrorCode, Isolation, Key, Op, Put, Transaction, WriteId};

use crate::{
    Case,
    harness::{Broken, Harness, call, certain, promise, refused, wait, write_id},
    verdict::{Outcomes, Stop},
};

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "limit_of_key_is_exact",
        "keys of up to the declared key_bytes (at least 480) are taken; a longer one is TooLarge and leaves no trace",
        key,
    ),
    Case::new(
        "limit_of_value_is_exact",
        "values of up to the declared value_bytes are taken; a larger one is TooLarge and leaves no trace",
        value,
    ),
    Case::new(
        "limit_of_batch_operations_is_exact",
        "batches of up to the declared batch_ops are taken; a longer one is TooLarge and writes nothing",
        batch_ops,
    ),
    Case::new(
        "limit_of_batch_bytes_is_exact",
        "batches of up to the declared batch_bytes are taken; a larger one is TooLarge and writes nothing",
        batch_bytes,
    ),
    Case::new(
        "limit_of_transaction_writes_is_exact",
        "a transaction takes up to the declared transaction_ops writes; the next one is TooLarge, and the rest can be committed",
        transaction_ops,
    )
    .when(super::claims::has_transactions),
    Case::new(
        "limit_of_transaction_bytes_is_exact",
        "a transaction takes up to the declared transaction_bytes; what goes beyond is TooLarge, and the rest can be committed",
        transaction_bytes,
    )
    .when(super::claims::has_transactions),
    Case::new(
        "limit_of_transaction_age_is_kept",
        "beyond the declared transaction_age_ms a transaction is rolled back, and its calls are ResourceExhausted",
        transaction_age,
    )
    .when(super::claims::has_transactions),
    Case::new(
        "limit_of_open_transactions_is_exact",
        "up to the declared number of transactions is open at a time; the next begin is ResourceExhausted, until one has ended",
        open_transactions,
    )
    .when(super::claims::has_transactions),
];

/// Most bytes that a case writes at a time.
const MAX_BYTES: u64 = 160 * 1024 * 1024;
/// Most transactions that a case opens at a time.
const MAX_OPEN: u64 = 10_000;
/// The longest that a case waits for a transaction to age.
const MAX_AGE: Duration = Duration::from_secs(30);
/// How long a place that was given back may take to be free.
const FREE_AGAIN: Duration = Duration::from_secs(5);
/// How much later than its limit a transaction may be ended.
const AGE_SLACK: Duration = Duration::from_secs(5);

/// A limit that can be reached here.
fn reachable(limit: u64, most: u64, what: &str) -> Result<usize, Stop> {
    match usize::try_from(limit) {
        Ok(limit_here) if limit <= most => Ok(limit_here),
        _ => Err(Stop::Unproved(format!("the limit of {what}, {limit}, is beyond what is tried, {most}"))),
    }
}

fn key(h: &Harness<'_>) -> Outcomes {
    let limit = reachable(h.capabilities().limits.key_bytes, MAX_BYTES, "key_bytes")?;
    certain!(limit >= 480, "the declared key_bytes is {limit}, and every backend takes 480");
    for length in [limit - 1, limit] {
        let key = vec![b'k'; length];
        h.put(&key, b"v")?;
        promise!(h.value(&key)? == b"v", "a key of {length} bytes is not found");
        promise!(h.delete(&key)?, "a key of {length} bytes is not there to delete");
    }
    let longer = vec![b'k'; limit + 1];
    refused(h.put(&longer, b"v"), ErrorCode::TOO_LARGE, "a put of a key beyond the limit")?;
    refused(h.get(&longer), ErrorCode::TOO_LARGE, "a get of a key beyond the limit")?;
    refused(h.delete(&longer), ErrorCode::TOO_LARGE, "a delete of a key beyond the limit")?;
    nothing_there(h, "a put of a key beyond the limit")
}

fn nothing_there(h: &Harness<'_>, what: &str) -> Outcomes {
    let left = h.entries(b"")?.len();
    promise!(left == 0, "{what} was refused, and left {left} records");
    Ok(())
}

fn value(h: &Harness<'_>) -> Outcomes {
    let limit = reachable(h.capabilities().limits.value_bytes, MAX_BYTES, "value_bytes")?;
    let value = vec![7; limit + 1];
    refused(h.put(b"k", &value), ErrorCode::TOO_LARGE, "a put of a value beyond the limit")?;
    nothing_there(h, "a value beyond the limit")?;
    for length in [limit - 1, limit] {
        let (within, _) = value.split_at(length);
        h.put(b"k", within)?;
        promise!(h.value(b"k")? == within, "a value of {length} bytes came back changed");
    }
    Ok(())
}

fn modes(h: &Harness<'_>) -> Vec<BatchMode> {
    let atomic = super::claims::is_atomic(&h.capabilities());
    [BatchMode::Independent, BatchMode::Atomic]
        .into_iter()
        .filter(|mode| atomic || *mode != BatchMode::Atomic)
        .collect()
}

fn batch_ops(h: &Harness<'_>) -> Outcomes {
    let limit = reachable(h.capabilities().limits.batch_ops, 100_000, "batch_ops")?;
    certain!(limit >= 1, "no operation fits into a batch");
    let keys: Vec<Vec<u8>> = (0..=limit).map(|index| index.to_string().into_bytes()).collect();
    let ops: Vec<Op<'_>> = keys.iter().map(|key| Op::put(h.key(key), b"v")).collect();
    for mode in modes(h) {
        refused(h.apply(&ops, mode), ErrorCode::TOO_LARGE, "a batch of one operation too many")?;
        nothing_there(h, "a batch of one operation too many")?;
        for count in [limit - 1, limit] {
            let (within, _) = ops.split_at(count);
            let answered = h.apply(within, mode)?.iter().filter(Result::is_ok).count();
            promise!(answered == count, "of a batch of {count} operations {answered} were done");
        }
        for key in keys.iter().take(limit) {
            promise!(
                h.delete(key)?,
                "a batch of the greatest length did not write \"{}\"",
                key.escape_ascii()
            );
        }
    }
    let many: Vec<Key<'_>> = keys.iter().map(|key| h.key(key)).collect();
    refused(wait(h.store().get_many(&call(), &many)), ErrorCode::TOO_LARGE, "a get_many of one key too many")
}

fn batch_bytes(h: &Harness<'_>) -> Outcomes {
    let limits = h.capabilities().limits;
    let limit = reachable(limits.batch_bytes, MAX_BYTES, "batch_bytes")?;
    let each = usize::try_from(limits.value_bytes).unwrap_or(usize::MAX).min(limit);
    let sizes = |total: usize| -> Vec<usize> {
        // Keys of one byte each count too.
        let mut left = total;
        let mut sizes = Vec::new();
        while left > 0 {
            let size = each.min(left - 1);
            sizes.push(size);
            left -= size + 1;
        }
        sizes
    };
    if sizes(limit + 1).len() > 200 {
        return Err(Stop::Unproved("it takes more than 200 of the largest values to fill a batch".into()));
    }
    let bytes = vec![7; each];
    let keys: Vec<[u8; 1]> = (0..=255).map(|byte| [byte]).collect();
    for mode in modes(h) {
        let run = |total: usize| {
            let ops: Vec<Op<'_>> = sizes(total)
                .into_iter()
                .zip(&keys)
                .map(|(size, key)| Op::put(h.key(key), bytes.get(..size).unwrap_or_default()))
                .collect();
            h.apply(&ops, mode)
        };
        refused(run(limit + 1), ErrorCode::TOO_LARGE, "a batch of one byte too many")?;
        for total in [limit - 1, limit] {
            let results = run(total)?;
            let failed = results.iter().find_map(Result::err);
            promise!(failed.is_none(), "a batch of {total} bytes failed: {failed:?}");
        }
        for key in &keys {
            h.delete(key)?;
        }
    }
    Ok(())
}

fn begin(h: &Harness<'_>) -> Result<Transaction, Stop> {
    Ok(h.begin(h.capabilities().isolation)?)
}

fn transaction_ops(h: &Harness<'_>) -> Outcomes {
    let limit = reachable(h.capabilities().limits.transaction_ops, 100_000, "transaction_ops")?;
    certain!(limit >= 1, "no write fits into a transaction");
    let age = Duration::from_millis(h.capabilities().limits.transaction_age_ms);
    for count in [limit - 1, limit] {
        let begun = Instant::now();
        let tx = begin(h)?;
        let put = |index: usize| {
            let key = index.to_string().into_bytes();
            wait(tx.put(&call(), Put::new(h.key(&key), b"v").with_write_id(write_id())))
        };
        for index in 0..count {
            put(index).map_err(|error| {
                let text = format!("write {} of a transaction that takes {limit} failed: {error}", index + 1);
                // Slow here, and so too old.
                let is_old = error.code() == ErrorCode::RESOURCE_EXHAUSTED && begun.elapsed() >= age;
                if is_old { Stop::Unproved(text) } else { Broken(text) }
            })?;
        }
        if count == limit {
            refused(put(count), ErrorCode::TOO_LARGE, "one write too many in a transaction")?;
        }
        let committed = wait(tx.commit(&call(), write_id()))?;
        promise!(
            committed.keys().len() == count,
            "a commit of {count} writes answered {} keys",
            committed.keys().len()
        );
    }
    let beyond = limit.to_string().into_bytes();
    promise!(h.get(&beyond)?.is_none(), "a refused write of a transaction was committed");
    Ok(())
}

fn transaction_bytes(h: &Harness<'_>) -> Outcomes {
    let limits = h.capabilities().limits;
    let limit = reachable(limits.transaction_bytes, MAX_BYTES, "transaction_bytes")?;
    let each = usize::try_from(limits.value_bytes).unwrap_or(usize::MAX).min(limit / 2);
    if each == 0 || limit / each > 200 {
        return Err(Stop::Unproved(
            "it takes more than 200 of the largest values to fill a transaction".into(),
        ));
    }
    let bytes = vec![7; each + 2];
    let tx = begin(h)?;
    let put = |index: usize, size: usize| {
        let key = [u8::try_from(index).unwrap_or(0)];
        let value = bytes.get(..size).unwrap_or_default();
        wait(tx.put(&call(), Put::new(h.key(&key), value).with_write_id(write_id())))
    };
    let (mut left, mut index) = (limit, 0);
    while left > each + 2 {
        put(index, each)?;
        (left, index) = (left - each - 1, index + 1);
    }
    refused(put(index, left), ErrorCode::TOO_LARGE, "one byte too many in a transaction")?;
    put(index, left - 1)
        .map_err(|error| Broken(format!("the last byte that a transaction takes was refused: {error}")))?;
    wait(tx.commit(&call(), write_id()))?;
    let key = [u8::try_from(index).unwrap_or(0)];
    promise!(h.value(&key)?.len() == left - 1, "a transaction of the greatest size was not committed whole");
    Ok(())
}

fn transaction_age(h: &Harness<'_>) -> Outcomes {
    let age = Duration::from_millis(h.capabilities().limits.transaction_age_ms);
    if age > MAX_AGE {
        return Err(Stop::Unproved(format!(
            "transactions live for {} s, and a case waits for {} s",
            age.as_secs(),
            MAX_AGE.as_secs()
        )));
    }
    let begun = Instant::now();
    let tx = begin(h)?;
    let write = |value: &[u8]| wait(tx.put(&call(), Put::new(h.key(b"k"), value).with_write_id(write_id())));
    write(b"v")?;
    // Calls do not extend the age of a transaction.
    let ended = loop {
        std::thread::sleep(Duration::from_millis(200));
        match write(b"w") {
            Ok(()) if begun.elapsed() < age + AGE_SLACK => {}
            answer => break answer,
        }
    };
    let lived = begun.elapsed();
    refused(ended, ErrorCode::RESOURCE_EXHAUSTED, "a write in a transaction beyond its age")?;
    promise!(
        lived + Duration::from_millis(400) >= age,
        "a transaction that may live for {} ms was ended after {}",
        age.as_millis(),
        lived.as_millis()
    );
    let commit = wait(tx.commit(&call(), WriteId::default()));
    promise!(commit.is_err(), "a transaction beyond its age was committed");
    promise!(h.get(b"k")?.is_none(), "a transaction beyond its age left a record");
    h.put(b"k", b"after")?;
    Ok(())
}

fn open_transactions(h: &Harness<'_>) -> Outcomes {
    let limit = reachable(h.capabilities().limits.transactions, MAX_OPEN, "transactions")?;
    let begin = Begin { isolation: Isolation::READ_COMMITTED, read_only: true };
    let open = || wait(h.store().begin(&call(), begin));
    for _ in 0..2 {
        let mut all = Vec::new();
        for number in 0..limit {
            all.push(free_again(open).map_err(|error| {
                Broken(format!("transaction {} of {limit} was refused: {error}", number + 1))
            })?);
        }
        refused(open(), ErrorCode::RESOURCE_EXHAUSTED, "a transaction beyond the declared number")?;
        drop(all.pop());
        let another = free_again(open)?;
        wait(another.commit(&call(), write_id()))?;
        // A transaction that has ended is not open, even if it is not dropped yet.
        drop(free_again(open)?);
        // The rest are dropped, and must not count any more in the second round.
        drop(all);
        drop(free_again(open)?);
    }
    Ok(())
}

/// A place that was given back is free within a second; the machine may be busy.
fn free_again(open: impl Fn() -> Result<Transaction, Error>) -> Result<Transaction, Error> {
    let begun = Instant::now();
    loop {
        match open() {
            Err(error) if error.code() == ErrorCode::RESOURCE_EXHAUSTED && begun.elapsed() < FREE_AGAIN => {
                std::thread::sleep(Duration::from_millis(20));
            }
            answer => return answer,
        }
    }
}
