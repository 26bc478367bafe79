//! Closing: once, in order, and for good.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use keyway_loader::{
    BackupLevel, BackupPull, Delete, DropKeyspace, Durability, ErrorCode, Features, RestoreMode, Scan,
    Sharing,
};

use super::operations::has_store_beneath;
use crate::{
    Case,
    harness::{Broken, Harness, Misread, call, promise, refused, wait, write_id},
    ledger::Ledger,
    verdict::Outcomes,
};

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "store_of_one_opener_refuses_a_second",
        "a store that one may open at a time (sharing: one opener) is not opened by a second one, and the first goes on",
        second_opener,
    )
    .when(|capabilities| capabilities.sharing == Sharing::ONE_OPENER && has_store_beneath(capabilities)),
    Case::new(
        "shutdown_twice_is_once_and_later_calls_are_closed",
        "shutdown is idempotent, and later calls are Closed, also on transactions and streams that were open",
        shutdown,
    ),
    Case::new(
        "shutdown_with_calls_in_flight_answers_each_and_loses_none",
        "shutdown answers each call in flight, and acknowledged writes are there at the next opening",
        shutdown_in_flight,
    ),
];

fn second_opener(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"v")?;
    if let Ok(second) = h.try_open() {
        wait(second.shutdown(&call()))?;
        return Err(Broken(
            "a store that one may open at a time was opened by a second one in the same process".into(),
        ));
    }
    promise!(h.value(b"k")? == b"v", "a second opener was refused, and the first one lost a record");
    h.put(b"k", b"w")?;
    h.reopen()?;
    promise!(h.value(b"k")? == b"w", "after a second opener was refused, a write of the first one is lost");
    Ok(())
}

fn shutdown(h: &Harness<'_>) -> Outcomes {
    h.put(b"k", b"v")?;
    let capabilities = h.capabilities();
    let tx = super::claims::has_transactions(&capabilities)
        .then(|| h.begin_read_only(capabilities.isolation))
        .transpose()?;
    let backup =
        (capabilities.backup > BackupLevel::NONE).then(|| wait(h.store().backup(&call()))).transpose()?;
    wait(h.store().shutdown(&call()))?;
    wait(h.store().shutdown(&call()))?;
    let store = h.store();
    let closed = ErrorCode::CLOSED;
    refused(h.get(b"k"), closed, "a get after the shutdown")?;
    refused(wait(store.get_many(&call(), &[h.key(b"k")])), closed, "a get_many after the shutdown")?;
    refused(h.put(b"k", b"w"), closed, "a put after the shutdown")?;
    refused(wait(store.delete(&call(), Delete::new(h.key(b"k")))), closed, "a delete after the shutdown")?;
    refused(h.scan(Scan::prefix(h.keyspace(), b"")), closed, "a scan after the shutdown")?;
    refused(wait(store.keyspaces(&call(), "")), closed, "keyspaces after the shutdown")?;
    let dropped = wait(store.drop_keyspace(&call(), DropKeyspace::new(h.keyspace(), write_id())));
    refused(dropped, closed, "drop_keyspace after the shutdown")?;
    if super::claims::has_transactions(&capabilities) {
        refused(h.begin(capabilities.isolation), closed, "a begin after the shutdown")?;
    }
    if capabilities.backup > BackupLevel::NONE {
        refused(wait(store.backup(&call())), closed, "a backup after the shutdown")?;
    }
    if capabilities.features.contains(Features::RESTORE) {
        refused(wait(store.restore(&call(), RestoreMode::REPLACE)), closed, "a restore after the shutdown")?;
    }
    if let Some(tx) = tx {
        refused(
            wait(tx.get(&call(), h.key(b"k"))),
            closed,
            "a read in a transaction of before the shutdown",
        )?;
    }
    if let Some(backup) = backup {
        let next = wait(backup.next(&call(), BackupPull { max_items: 10, max_bytes: 1_000 }));
        refused(next, closed, "a pull from a backup of before the shutdown")?;
    }
    Ok(())
}

fn shutdown_in_flight(h: &Harness<'_>) -> Outcomes {
    for round in 0..h.rounds(20, 400) as u64 {
        let stop = AtomicBool::new(false);
        let mut ledgers: Vec<Ledger> = (0..4).map(|writer| Ledger::new(round * 4 + writer)).collect();
        thread::scope(|scope| -> Outcomes {
            let writers: Vec<_> = (0..)
                .zip(&mut ledgers)
                .map(|(writer, ledger)| {
                    let (stop, store) = (&stop, h.store());
                    scope.spawn(move || -> Outcomes {
                        let mut random = h.random(round * 4 + writer);
                        loop {
                            // Asked before the call: one more is made after the shutdown was answered.
                            let is_over = stop.load(Ordering::Relaxed);
                            match ledger.write(&store, &mut random, &mut |_| ()) {
                                Ok(()) if is_over => {
                                    return Err(Broken(
                                        "a shutdown was answered, and a write succeeds after it".into(),
                                    ));
                                }
                                Ok(()) => {}
                                Err(error) if error.code() == ErrorCode::CLOSED => return Ok(()),
                                Err(error) if error.code() == ErrorCode::CONFLICT => {}
                                Err(error) => {
                                    return Err(Broken(format!(
                                        "a call during a shutdown failed with {error}, not with Closed"
                                    )));
                                }
                            }
                        }
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(20 + 7 * round % 30));
            wait(h.store().shutdown(&call()))?;
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
        })?;
        h.reopen()?;
        if h.capabilities().durability > Durability::VOLATILE {
            for ledger in &mut ledgers {
                ledger
                    .check(&h.store())
                    .map_err(|found| Misread(format!("after a shutdown with calls in flight: {found}")))?;
            }
        }
    }
    Ok(())
}
