//! Backup and restore.

use keyway_loader::{
    BackupLevel, BackupPull, Capabilities, Error, ErrorCode, Features, Key, RestoreMode, RestoreRecord,
};

use crate::{
    Case,
    case::Outcomes,
    harness::{Harness, call, promise, refused, wait, write_id},
};

type Stored = (String, Vec<u8>, Vec<u8>);

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "backup_is_one_point_in_time",
        "a backup answers all records, ordered by keyspace and key, as they were at one time (backup: point in time)",
        one_point_in_time,
    )
    .when(point_in_time),
    Case::new(
        "restore_replaces_everything_or_nothing",
        "nothing of a restore is visible before it is finished; then everything is, and what was there before is gone",
        all_or_nothing,
    )
    .when(both),
    Case::new(
        "backup_not_declared_is_unsupported",
        "backup is Unsupported where it is not declared",
        no_backup,
    )
    .when(|capabilities| capabilities.backup == BackupLevel::NONE),
    Case::new(
        "restore_not_declared_is_unsupported",
        "restore is Unsupported where RESTORE is not declared",
        no_restore,
    )
    .when(|capabilities| !restores(capabilities)),
];

fn point_in_time(capabilities: &Capabilities) -> bool {
    capabilities.backup == BackupLevel::POINT_IN_TIME
}

fn restores(capabilities: &Capabilities) -> bool {
    capabilities.features.contains(Features::RESTORE)
}

fn both(capabilities: &Capabilities) -> bool {
    point_in_time(capabilities) && restores(capabilities)
}

fn backup(
    h: &Harness<'_>,
    max_items: u32,
    mut between: impl FnMut() -> Result<(), Error>,
) -> Result<Vec<Stored>, Error> {
    let stream = wait(h.store().backup(&call()))?;
    let mut stored = Vec::new();
    loop {
        between()?;
        let chunk = wait(stream.next(&call(), BackupPull { max_items, max_bytes: 1024 * 1024 }))?;
        stored.extend(
            chunk.records().iter().map(|r| (r.keyspace().to_owned(), r.key().to_vec(), r.value().to_vec())),
        );
        if chunk.is_done() {
            return Ok(stored);
        }
    }
}

fn one_point_in_time(h: &Harness<'_>) -> Outcomes {
    for index in 0..30 {
        h.put(format!("k{index:02}").as_bytes(), b"before")?;
    }
    let stored = backup(h, 4, || h.put(b"k29", b"after").and(h.put(b"k30", b"after")).map(|_| ()))?;
    let own: Vec<_> = stored.iter().filter(|(keyspace, ..)| keyspace == h.keyspace()).collect();
    promise!(own.len() == 30, "a backup of 30 records held {}", own.len());
    promise!(
        own.iter().all(|(_, _, value)| value == b"before"),
        "a backup saw a write that came after it began"
    );
    let places: Vec<_> = stored.iter().map(|(keyspace, key, _)| (keyspace, key)).collect();
    promise!(places.is_sorted(), "a backup is not ordered by keyspace and key");
    Ok(())
}

fn all_or_nothing(h: &Harness<'_>) -> Outcomes {
    h.put(b"old", b"v")?;
    let before = backup(h, 100, || Ok(()))?;
    let into_empty = wait(h.store().restore(&call(), RestoreMode::INTO_EMPTY));
    let into_empty = into_empty.and_then(|sink| wait(sink.finish(&call(), write_id())));
    refused(into_empty, ErrorCode::INVALID_ARGUMENT, "a restore into a store that is not empty")?;

    let new = RestoreRecord::new(h.key(b"new"), b"restored", 0);
    let sink = wait(h.store().restore(&call(), RestoreMode::REPLACE))?;
    wait(sink.write(&call(), &[new]))?;
    promise!(h.get(b"new")?.is_none(), "a restore was seen before it was finished");
    wait(sink.abort(&call()))?;
    refused(wait(sink.finish(&call(), write_id())), ErrorCode::CLOSED, "a finish after the abort")?;
    promise!(backup(h, 100, || Ok(()))? == before, "an aborted restore changed something");

    let old = h.get(b"old")?.map(|record| record.version());
    h.put(b"later", b"v")?;
    let sink = wait(h.store().restore(&call(), RestoreMode::REPLACE))?;
    for (keyspace, key, value) in &before {
        wait(sink.write(&call(), &[RestoreRecord::new(Key::new(keyspace, key), value, 0)]))?;
    }
    wait(sink.write(&call(), &[new]))?;
    let count = wait(sink.finish(&call(), write_id()))?;
    promise!(count == before.len() as u64 + 1, "a restore of {} records counted {count}", before.len() + 1);
    promise!(h.value(b"new")? == b"restored", "a restored record is missing");
    promise!(h.get(b"later")?.is_none(), "a restore that replaces left a record that it does not hold");
    let again = h.get(b"old")?.map(|record| record.version());
    promise!(again.is_some() && again != old, "a restore repeated the version of a record");
    Ok(())
}

fn no_backup(h: &Harness<'_>) -> Outcomes {
    refused(wait(h.store().backup(&call())), ErrorCode::UNSUPPORTED, "a backup that is not declared")
}

fn no_restore(h: &Harness<'_>) -> Outcomes {
    let restore = wait(h.store().restore(&call(), RestoreMode::REPLACE));
    refused(restore, ErrorCode::UNSUPPORTED, "a restore that is not declared")
}
