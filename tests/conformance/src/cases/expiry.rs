//! An expired record is absent everywhere.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyway_loader::{
    BackupPull, BatchMode, Capabilities, Condition, Error, ErrorCode, Features, Isolation, Op, Put, Scan,
    Transaction, Version,
};

use crate::{
    Case,
    harness::{Harness, KeyValue, Misread, call, collect, promise, refused, wait, write_id},
    verdict::Outcomes,
};

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "expired_record_is_absent_everywhere",
        "from its expiry on a record is absent everywhere: in reads, scans, conditions, transactions, batches, backups",
        absent_everywhere,
    )
    .when(expires),
    Case::new(
        "expiry_passes_while_nobody_writes",
        "an expiry is a time, in milliseconds since 1970, UTC: the record is there before it and gone after it",
        passes,
    )
    .when(expires),
    Case::new(
        "expiry_in_the_future_is_kept",
        "get answers a record with the expiry that was put; a put without one removes it",
        kept,
    )
    .when(expires),
    Case::new(
        "expiry_not_declared_is_unsupported",
        "a put with an expiry is Unsupported if EXPIRY is not declared, and writes nothing",
        unsupported,
    )
    .when(|capabilities| !expires(capabilities)),
];

fn expires(capabilities: &Capabilities) -> bool {
    capabilities.features.contains(Features::EXPIRY)
}

/// How long a record lives.
const LIFE: Duration = Duration::from_secs(4);
/// By how much the clock of the store may differ from this one's.
const CLOCKS: Duration = Duration::from_secs(2);

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn ms_from_now(later: Duration) -> u64 {
    let since = (SystemTime::now() + later).duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since)
}

fn put_expiring(h: &Harness<'_>, key: &[u8], expires_at_ms: u64) -> Result<Version, Error> {
    wait(
        h.store()
            .put(&call(), Put::new(h.key(key), b"v").expiring_at_ms(expires_at_ms).with_write_id(write_id())),
    )
}

fn absent_everywhere(h: &Harness<'_>) -> Outcomes {
    // Long past: no clock is near it.
    let version = put_expiring(h, b"gone", 1_000)?;
    h.put(b"here", b"v")?;
    promise!(h.get(b"gone")?.is_none(), "get sees an expired record");
    let many = wait(h.store().get_many(&call(), &[h.key(b"gone")]))?;
    promise!(many.get(0).is_none(), "get_many sees an expired record");
    let is_seen = |entries: Vec<KeyValue>| entries.iter().any(|(key, _)| key == b"gone");
    promise!(!is_seen(h.entries(b"")?), "scan sees an expired record");
    if h.capabilities().isolation > Isolation::NONE {
        let tx = h.begin_read_only(h.capabilities().isolation)?;
        promise!(wait(tx.get(&call(), h.key(b"gone")))?.is_none(), "a transaction sees an expired record");
        let scan = Scan::prefix(h.keyspace(), b"");
        let seen = collect(&h.capabilities(), scan, |page| wait(tx.scan(&call(), page)))?;
        promise!(!is_seen(seen), "a transaction's scan sees an expired record");
        wait(tx.rollback(&call()))?;
    }
    let stale = h.put_when(b"gone", b"v", Condition::Version(version));
    refused(stale, ErrorCode::PRECONDITION_FAILED, "a put on the version of an expired record")?;
    promise!(!h.delete(b"gone")?, "delete says that an expired record existed");
    put_expiring(h, b"gone", 1_000)?;
    h.put_when(b"gone", b"again", Condition::Absent)?;
    promise!(h.value(b"gone")? == b"again", "a record over an expired one is missing");
    if h.capabilities().features.contains(Features::ATOMIC_BATCH) {
        put_expiring(h, b"gone", 1_000)?;
        let ops = [Op::check(h.key(b"gone"), Condition::Absent), Op::put(h.key(b"other"), b"v")];
        h.apply(&ops, BatchMode::Atomic)?;
    }
    if h.capabilities().backup > keyway_loader::BackupLevel::NONE {
        put_expiring(h, b"gone", 1_000)?;
        let stream = wait(h.store().backup(&call()))?;
        loop {
            let chunk = wait(stream.next(&call(), BackupPull { max_items: 100, max_bytes: 1024 * 1024 }))?;
            let expired = chunk
                .records()
                .iter()
                .any(|record| record.key() == b"gone" && record.keyspace() == h.keyspace());
            promise!(!expired, "a backup holds an expired record");
            if chunk.is_done() {
                break;
            }
        }
    }
    Ok(())
}

fn passes(h: &Harness<'_>) -> Outcomes {
    let at = ms_from_now(LIFE);
    put_expiring(h, b"k", at)?;
    // The store's clock is another one, and may be ahead of this by a part of that.
    promise!(h.get(b"k")?.is_some() || ms_from_now(CLOCKS) >= at, "a record is absent before its expiry");
    let begun = h.capabilities().isolation >= Isolation::SNAPSHOT;
    let tx = begun.then(|| h.begin_read_only(Isolation::SNAPSHOT)).transpose()?;
    let seen = |tx: &Transaction| Ok::<_, Error>(wait(tx.get(&call(), h.key(b"k")))?.is_some());
    let was_there = tx.as_ref().map(&seen).transpose()?;
    // … or after it.
    while h.get(b"k")?.is_some() {
        promise!(
            ms_from_now(Duration::ZERO) < at + millis(CLOCKS),
            "a record is there {} s after its expiry",
            CLOCKS.as_secs()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    promise!(h.entries(b"")?.is_empty(), "a scan sees a record that get does not see, after its expiry");
    promise!(!h.delete(b"k")?, "delete says that a record existed after its expiry");
    if let Some(tx) = tx {
        let is_there = seen(&tx)?;
        promise!(
            was_there == Some(is_there),
            "records expire, for a transaction, as of its begin: one was there ({was_there:?}), and then not ({is_there})"
        );
    }
    Ok(())
}

fn kept(h: &Harness<'_>) -> Outcomes {
    let expires_at_ms = ms_from_now(Duration::from_secs(3_600));
    put_expiring(h, b"k", expires_at_ms)?;
    let record =
        h.get(b"k")?.ok_or_else(|| Misread("a record is absent an hour before it expires".into()))?;
    promise!(record.expires_at_ms() == Some(expires_at_ms), "the expiry came back changed");
    h.put(b"k", b"v")?;
    let record = h.get(b"k")?.ok_or_else(|| Misread("a written key is missing".into()))?;
    promise!(record.expires_at_ms().is_none(), "a write without expiry kept the old one");
    Ok(())
}

fn unsupported(h: &Harness<'_>) -> Outcomes {
    let put = put_expiring(h, b"k", ms_from_now(Duration::from_secs(60)));
    refused(put, ErrorCode::UNSUPPORTED, "a put with an expiry that is not declared")?;
    promise!(h.get(b"k")?.is_none(), "a refused put created its key");
    Ok(())
}
