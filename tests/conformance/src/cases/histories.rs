//! Random histories of many clients at a time, judged afterwards by checkers.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    thread,
    time::Duration,
};

use keyway_loader::{Condition, Error, ErrorCode, Outcome, Transaction};

use super::transactions::{begin, read, write};
use crate::{
    Case,
    checkers::{
        lists::{Ended, ListHistory, Step},
        registers::{RegisterHistory, RegisterOp},
    },
    harness::{Harness, Misread, again_on_conflict, call, promise, wait, write_id},
    random::Random,
    verdict::Outcomes,
};

const CLIENTS: u64 = 4;
/// What a condition fails with.
const FAILED: [ErrorCode; 2] = [ErrorCode::ALREADY_EXISTS, ErrorCode::PRECONDITION_FAILED];
/// Transactions of a client on the same lists, which only grow.
const EPOCH: usize = 200;
/// Keys that the clients of a list history share.
const LISTS: usize = 4;

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "history_of_registers_is_linearizable",
        "reads and (conditional) writes of a key take effect at one moment between call and answer (read consistency: linearizable)",
        registers,
    )
    .when(super::claims::is_linearizable)
    .within(Duration::from_mins(2)),
    Case::new(
        "history_of_transactions_has_no_anomaly",
        "what concurrent transactions read and append has an explanation at the claimed isolation",
        lists,
    )
    .when(super::claims::has_snapshots)
    .within(Duration::from_mins(2)),
];

fn registers(h: &Harness<'_>) -> Outcomes {
    for round in 0..h.rounds(40, 2_000) as u64 {
        let history = RegisterHistory::default();
        let key = round.to_string().into_bytes();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (history, key) = (&history, &key);
                    scope.spawn(move || {
                        use_register(h, history, key, client, h.random(round * CLIENTS + client))
                    })
                })
                .collect();
            clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
        })?;
        promise!(
            history.is_linearizable(),
            "no order of these calls on one key explains their answers:\n{}",
            history.shown()
        );
    }
    Ok(())
}

/// A dozen calls of one client. Each value is written once, so that a read tells which write it saw.
fn use_register(
    h: &Harness<'_>,
    history: &RegisterHistory,
    key: &[u8],
    client: u64,
    mut random: Random,
) -> Outcomes {
    for turn in 0..12_u64 {
        let value = 1 + client * 100 + turn;
        let bytes = value.to_string().into_bytes();
        let number = |bytes: &[u8]| String::from_utf8_lossy(bytes).parse::<u64>().ok();
        match random.below(5) {
            0..2 => {
                let called = history.call(client, RegisterOp::Read(None));
                let seen = match h.get(key)? {
                    None => 0,
                    Some(record) => number(record.value()).ok_or_else(|| {
                        Misread(format!("a value that was never written: {}", record.value().escape_ascii()))
                    })?,
                };
                history.answer(called, RegisterOp::Read(Some(seen)));
            }
            2..4 => {
                let called = history.call(client, RegisterOp::Write(value));
                again_on_conflict(|| h.put(key, &bytes))?;
                history.answer(called, RegisterOp::Write(value));
            }
            _ => {
                // The read and the swap are two operations of the history.
                let called = history.call(client, RegisterOp::Read(None));
                let record = h.get(key)?;
                let seen = record.as_ref().and_then(|record| number(record.value())).unwrap_or(0);
                history.answer(called, RegisterOp::Read(Some(seen)));
                let condition =
                    record.map_or(Condition::Absent, |record| Condition::Version(record.version()));
                let called = history.call(client, RegisterOp::Swap { from: seen, to: value, done: None });
                let done = match again_on_conflict(|| h.put_when(key, &bytes, condition)) {
                    Ok(_) => true,
                    Err(error)
                        if FAILED.contains(&error.code()) && error.outcome() == Outcome::NOT_APPLIED =>
                    {
                        false
                    }
                    Err(error) => return Err(error.into()),
                };
                history.answer(called, RegisterOp::Swap { from: seen, to: value, done: Some(done) });
            }
        }
    }
    Ok(())
}

fn lists(h: &Harness<'_>) -> Outcomes {
    let epochs = h.rounds(1, 50);
    for epoch in 0..epochs {
        let (history, next) = (ListHistory::default(), AtomicI64::new(1));
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (history, next) = (&history, &next);
                    scope.spawn(move || {
                        let mut random = h.random(epoch as u64 * CLIENTS + client);
                        let lists = epoch * LISTS;
                        (0..EPOCH)
                            .try_for_each(|_| one_transaction(h, history, (client, lists), next, &mut random))
                    })
                })
                .collect();
            clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
        })?;
        let model = model(h);
        history.check(model).map_err(|anomaly| Misread(format!("it is not {model}: {anomaly}")))?;
    }
    Ok(())
}

/// What the claimed isolation is to the checker.
fn model(h: &Harness<'_>) -> &'static str {
    if super::claims::is_serializable(&h.capabilities()) { "serializable" } else { "snapshot-isolation" }
}

/// One to four reads and appends, on the lists from that number on.
fn one_transaction(
    h: &Harness<'_>,
    history: &ListHistory,
    (client, lists): (u64, usize),
    next: &AtomicI64,
    random: &mut Random,
) -> Outcomes {
    let planned: Vec<Step> = (0..1 + random.below(4))
        .map(|_| {
            let key = lists + random.index(LISTS);
            if random.below(2) == 0 {
                Step::Read(key, None)
            } else {
                Step::Append(key, next.fetch_add(1, Ordering::Relaxed))
            }
        })
        .collect();
    history.begin(client, &planned);
    let mut done = Vec::new();
    let mut run = || -> Result<(), Error> {
        let tx = begin(h)?;
        for step in &planned {
            done.push(take(h, &tx, step)?);
            // So that transactions overlap even if each step is quick.
            if random.below(3) == 0 {
                thread::sleep(Duration::from_micros(100));
            }
        }
        wait(tx.commit(&call(), write_id())).map(drop)
    };
    let ended = match run() {
        Ok(()) => Ended::Committed(done),
        Err(error) if error.outcome() == Outcome::UNKNOWN => Ended::Unknown(planned),
        Err(error) if error.code() == ErrorCode::CONFLICT => Ended::Aborted(planned),
        Err(error) => return Err(error.into()),
    };
    history.end(client, &ended);
    Ok(())
}

/// Reads a list, or appends to it by reading and writing it whole.
fn take(h: &Harness<'_>, tx: &Transaction, step: &Step) -> Result<Step, Error> {
    let (Step::Read(list, _) | Step::Append(list, _)) = step;
    let key = format!("list{list}").into_bytes();
    let text = read(h, tx, &key)?.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    match step {
        // Text that is no number becomes -1, which no client writes: the checker finds it.
        Step::Read(..) => {
            let held = text.split_terminator(' ').map(|number| number.parse().unwrap_or(-1)).collect();
            Ok(Step::Read(*list, Some(held)))
        }
        Step::Append(_, number) => {
            write(h, tx, &key, format!("{text}{number} ").as_bytes())?;
            Ok(step.clone())
        }
    }
}
