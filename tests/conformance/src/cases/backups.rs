//! Backup and restore.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use keyway_loader::{
    BackupLevel, BackupPull, BatchMode, Capabilities, Error, ErrorCode, Features, Key, Op, Put, RestoreMode,
    RestoreRecord,
};

use crate::{
    Case,
    harness::{Harness, again_on_conflict, call, promise, refused, wait, write_id},
    verdict::Outcomes,
};

/// Milliseconds since 1970 that no test lives to see.
const FAR_AWAY_MS: u64 = 32_503_680_000_000;

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "backup_holds_every_record",
        "a backup answers all records with their values and expiries, ordered by keyspace and key, over however many pulls",
        every_record,
    )
    .when(backs_up),
    Case::new(
        "backup_is_one_point_in_time",
        "a backup answers all records as they were at one time, and no write meanwhile changes it (backup: point in time)",
        one_point_in_time,
    )
    .when(|capabilities| capabilities.backup >= BackupLevel::POINT_IN_TIME),
    Case::new(
        "restore_replaces_everything_or_nothing",
        "nothing of a restore is visible before it is finished; then everything is, and what was there before is gone",
        all_or_nothing,
    )
    .when(restores),
    Case::new(
        "restore_into_empty_refuses_a_store_with_records",
        "a restore `into empty` refuses a store that holds a record with InvalidArgument, and fills one that holds none",
        into_empty,
    )
    .when(restores),
    Case::new(
        "restore_of_a_backup_is_what_was_backed_up",
        "a restore of a backup has the same records, values and expiries, with new versions",
        round_trip,
    )
    .when(|capabilities| backs_up(capabilities) && restores(capabilities)),
    Case::new("backup_not_declared_is_unsupported", "backup is Unsupported if it is not declared", no_backup)
        .when(|capabilities| !backs_up(capabilities)),
    Case::new("restore_not_declared_is_unsupported", "restore is Unsupported if RESTORE is not declared", no_restore)
        .when(|capabilities| !restores(capabilities)),
];

fn backs_up(capabilities: &Capabilities) -> bool {
    capabilities.backup > BackupLevel::NONE
}

fn restores(capabilities: &Capabilities) -> bool {
    capabilities.features.contains(Features::RESTORE)
}

fn expires(h: &Harness<'_>) -> bool {
    h.capabilities().features.contains(Features::EXPIRY)
}

/// A record as backups have it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    keyspace: String,
    key: Vec<u8>,
    value: Vec<u8>,
    expires_at_ms: Option<u64>,
}

/// All records of a backup; `between` happens after each pull.
fn backup(
    h: &Harness<'_>,
    max_items: u32,
    mut between: impl FnMut() -> Result<(), Error>,
) -> Result<Vec<Stored>, Error> {
    let stream = wait(h.store().backup(&call()))?;
    let mut stored = Vec::new();
    loop {
        let chunk = wait(stream.next(&call(), BackupPull { max_items, max_bytes: 1024 * 1024 }))?;
        stored.extend(chunk.records().iter().map(|record| Stored {
            keyspace: record.keyspace().to_owned(),
            key: record.key().to_vec(),
            value: record.value().to_vec(),
            expires_at_ms: record.expires_at_ms(),
        }));
        if chunk.is_done() {
            return Ok(stored);
        }
        between()?;
    }
}

/// Some records, in two keyspaces, of which some expire one day.
fn fill(h: &Harness<'_>) -> Result<Vec<Stored>, Error> {
    let mut all = Vec::new();
    for keyspace in [h.keyspace().to_owned(), format!("{}-other", h.keyspace())] {
        for index in 0..25_u8 {
            let (key, value) = (vec![b'k', index], vec![index; usize::from(index) * 50]);
            let expires_at_ms = (expires(h) && index % 4 == 0).then_some(FAR_AWAY_MS + u64::from(index));
            let put = Put::new(Key::new(&keyspace, &key), &value).expiring_at_ms(expires_at_ms.unwrap_or(0));
            wait(h.store().put(&call(), put.with_write_id(write_id())))?;
            all.push(Stored { keyspace: keyspace.clone(), key, value, expires_at_ms });
        }
    }
    Ok(all)
}

fn every_record(h: &Harness<'_>) -> Outcomes {
    let written = fill(h)?;
    for max_items in [1, 7, 1_000] {
        let stored = backup(h, max_items, || Ok(()))?;
        let places: Vec<_> = stored.iter().map(|record| (&record.keyspace, &record.key)).collect();
        promise!(places.is_sorted(), "a backup is not ordered by keyspace and key");
        let differs = stored.iter().zip(&written).find(|(one, other)| one != other);
        promise!(
            stored == written,
            "in pulls of {max_items} a backup of {} records held {}; they differ at {differs:?}",
            written.len(),
            stored.len()
        );
    }
    Ok(())
}

fn one_point_in_time(h: &Harness<'_>) -> Outcomes {
    for index in 0..30 {
        h.put(format!("k{index:02}").as_bytes(), b"before")?;
    }
    let stored = backup(h, 4, || h.put(b"k29", b"after").and(h.put(b"k30", b"after")).map(drop))?;
    promise!(stored.len() == 30, "a backup of 30 records held {}", stored.len());
    let late = stored.iter().find(|record| record.value != b"before");
    promise!(late.is_none(), "a backup saw a write that came after its first records: {late:?}");
    if crate::cases::claims::is_atomic(&h.capabilities()) {
        under_transfers(h)?;
    }
    Ok(())
}

/// Each batch changes all these records: a backup that holds two numbers is not of one time.
fn under_transfers(h: &Harness<'_>) -> Outcomes {
    let keys: Vec<Vec<u8>> = (0..20).map(|index| format!("t{index:02}").into_bytes()).collect();
    let write = |number: usize| {
        let value = number.to_string().into_bytes();
        let ops: Vec<Op<'_>> = keys.iter().map(|key| Op::put(h.key(key), &value)).collect();
        again_on_conflict(|| h.apply(&ops, BatchMode::Atomic)).map(drop)
    };
    write(0)?;
    let (written, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<(), Error> {
            while !stop.load(Ordering::Relaxed) {
                write(1 + written.fetch_add(1, Ordering::Relaxed))?;
            }
            Ok(())
        });
        let looked = (0..h.rounds(10, 500)).try_for_each(|_| -> Outcomes {
            let before = written.load(Ordering::Relaxed);
            let wait_for_change = || {
                while written.load(Ordering::Relaxed) == before && !writer.is_finished() {
                    thread::yield_now();
                }
                Ok(())
            };
            let stored = backup(h, 3, wait_for_change)?;
            let mut seen: Vec<_> = stored
                .iter()
                .filter(|record| record.key.starts_with(b"t"))
                .map(|record| &record.value)
                .collect();
            promise!(seen.len() == keys.len(), "a backup held {} of {} records", seen.len(), keys.len());
            seen.dedup();
            promise!(
                seen.len() == 1,
                "a backup held records that no one time has had together: a batch in part"
            );
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        looked.and(writer.join().expect("the writer does not panic").map_err(Into::into))
    })
}

fn restored<'a>(record: &'a Stored) -> RestoreRecord<'a> {
    let key = Key::new(&record.keyspace, &record.key);
    RestoreRecord::new(key, &record.value, record.expires_at_ms.unwrap_or(0))
}

fn all_or_nothing(h: &Harness<'_>) -> Outcomes {
    let old = h.put(b"old", b"v")?;
    let new = RestoreRecord::new(h.key(b"new"), b"restored", 0);
    let again = RestoreRecord::new(h.key(b"old"), b"v", 0);
    let sink = wait(h.store().restore(&call(), RestoreMode::REPLACE))?;
    wait(sink.write(&call(), &[new]))?;
    promise!(h.get(b"new")?.is_none(), "a restore was seen before it was finished");
    wait(sink.abort(&call()))?;
    refused(wait(sink.finish(&call(), write_id())), ErrorCode::CLOSED, "a finish after the abort")?;
    let kept = [(b"old".to_vec(), b"v".to_vec())];
    promise!(h.entries(b"")? == kept, "an aborted restore changed something");
    let sink = wait(h.store().restore(&call(), RestoreMode::REPLACE))?;
    wait(sink.write(&call(), &[new]))?;
    drop(sink);
    promise!(h.entries(b"")? == kept, "a restore that was dropped changed something");

    h.put(b"later", b"v")?;
    let sink = wait(h.store().restore(&call(), RestoreMode::REPLACE))?;
    wait(sink.write(&call(), &[new]))?;
    wait(sink.write(&call(), &[again]))?;
    let count = wait(sink.finish(&call(), write_id()))?;
    promise!(count == 2, "a restore of 2 records counted {count}");
    promise!(h.value(b"new")? == b"restored", "a restored record is missing");
    promise!(h.get(b"later")?.is_none(), "a restore that replaces left a record that it does not hold");
    let now = h.get(b"old")?.map(|record| record.version());
    promise!(now.is_some() && now != Some(old), "a restore repeated the version of a record");
    Ok(())
}

fn into_empty(h: &Harness<'_>) -> Outcomes {
    let record = RestoreRecord::new(h.key(b"k"), b"v", 0);
    let restore = || -> Result<u64, Error> {
        let sink = wait(h.store().restore(&call(), RestoreMode::INTO_EMPTY))?;
        wait(sink.write(&call(), &[record]))?;
        wait(sink.finish(&call(), write_id()))
    };
    let count = restore()?;
    promise!(
        count == 1 && h.value(b"k")? == b"v",
        "a restore of one record into an empty store counted {count}"
    );
    h.put(b"k", b"present")?;
    refused(restore(), ErrorCode::INVALID_ARGUMENT, "a restore into a store that is not empty")?;
    promise!(h.value(b"k")? == b"present", "a refused restore changed a record");
    Ok(())
}

fn round_trip(h: &Harness<'_>) -> Outcomes {
    let written = fill(h)?;
    let versions = |h: &Harness<'_>| -> Result<Vec<_>, Error> {
        let read = |record: &Stored| wait(h.store().get(&call(), Key::new(&record.keyspace, &record.key)));
        written.iter().map(|record| Ok(read(record)?.map(|record| record.version()))).collect()
    };
    let before = versions(h)?;
    let stored = backup(h, 10, || Ok(()))?;
    h.put(b"later", b"v")?;
    let sink = wait(h.store().restore(&call(), RestoreMode::REPLACE))?;
    for records in stored.chunks(7) {
        let records: Vec<RestoreRecord<'_>> = records.iter().map(restored).collect();
        wait(sink.write(&call(), &records))?;
    }
    let count = wait(sink.finish(&call(), write_id()))?;
    promise!(count == stored.len() as u64, "a restore of {} records counted {count}", stored.len());
    let again = backup(h, 1_000, || Ok(()))?;
    let differs = again.iter().zip(&written).find(|(one, other)| one != other);
    promise!(
        again == written,
        "{} records were backed up and restored, and {} are there; they differ at {differs:?}",
        written.len(),
        again.len()
    );
    let repeated = before.iter().zip(versions(h)?).find(|(old, new)| old.is_some() && **old == *new);
    promise!(repeated.is_none(), "a restore repeated the version of a record: {repeated:?}");
    Ok(())
}

fn no_backup(h: &Harness<'_>) -> Outcomes {
    refused(wait(h.store().backup(&call())), ErrorCode::UNSUPPORTED, "a backup that is not declared")
}

fn no_restore(h: &Harness<'_>) -> Outcomes {
    let restore = wait(h.store().restore(&call(), RestoreMode::REPLACE));
    refused(restore, ErrorCode::UNSUPPORTED, "a restore that is not declared")
}
