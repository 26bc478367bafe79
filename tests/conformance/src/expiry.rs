//! An expired record is absent everywhere.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyway_loader::{Batch, BatchMode, Condition, ErrorCode, Features, Isolation, Op, Put, Scan, WriteId};

use crate::{
    Case,
    harness::{Broken, Harness, Outcomes, call, promise, refused, wait},
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "expired_record_is_absent_everywhere",
        applies: |capabilities| capabilities.features.contains(Features::EXPIRY),
        run: absent_everywhere,
    },
    Case {
        name: "expiry_in_the_future_is_kept",
        applies: |capabilities| capabilities.features.contains(Features::EXPIRY),
        run: kept,
    },
    Case {
        name: "expiry_not_declared_is_unsupported",
        applies: |capabilities| !capabilities.features.contains(Features::EXPIRY),
        run: unsupported,
    },
];

fn ms_from_now(later: Duration) -> u64 {
    let since = (SystemTime::now() + later).duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn put_expiring(
    h: &Harness,
    key: &[u8],
    expires_at_ms: u64,
) -> Result<keyway_loader::Version, keyway_loader::Error> {
    wait(h.store().put(&call(), Put::new(h.key(key), b"v").expiring_at_ms(expires_at_ms)))
}

fn absent_everywhere(h: &Harness) -> Outcomes {
    // Long past: no clock is near it.
    let version = put_expiring(h, b"gone", 1_000)?;
    h.put(b"here", b"v")?;
    promise!(h.get(b"gone")?.is_none(), "get sees an expired record");
    let many = wait(h.store().get_many(&call(), &[h.key(b"gone")]))?;
    promise!(many.get(0).is_none(), "get_many sees an expired record");
    let page = h.scan(Scan::prefix(h.keyspace(), b""))?;
    promise!(page.entries().iter().all(|entry| entry.key() != b"gone"), "scan sees an expired record");
    if h.capabilities().isolation > Isolation::NONE {
        let tx = h.begin_read_only(h.capabilities().isolation)?;
        promise!(wait(tx.get(&call(), h.key(b"gone")))?.is_none(), "a transaction sees an expired record");
        let page = wait(tx.scan(&call(), Scan::prefix(h.keyspace(), b"")))?;
        promise!(
            page.entries().iter().all(|entry| entry.key() != b"gone"),
            "a transaction's scan sees an expired record"
        );
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
        wait(h.store().apply(&call(), Batch::new(&ops, BatchMode::Atomic, WriteId::default())))?;
    }
    Ok(())
}

fn kept(h: &Harness) -> Outcomes {
    let expires_at_ms = ms_from_now(Duration::from_secs(3_600));
    put_expiring(h, b"k", expires_at_ms)?;
    let record = h.get(b"k")?.ok_or_else(|| Broken("a record is absent an hour before it expires".into()))?;
    promise!(record.expires_at_ms() == Some(expires_at_ms), "the expiry came back changed");
    h.put(b"k", b"v")?;
    let record = h.get(b"k")?.ok_or_else(|| Broken("a written key is missing".into()))?;
    promise!(record.expires_at_ms().is_none(), "a write without expiry kept the old one");
    Ok(())
}

fn unsupported(h: &Harness) -> Outcomes {
    let put = put_expiring(h, b"k", ms_from_now(Duration::from_secs(60)));
    refused(put, ErrorCode::UNSUPPORTED, "a put with an expiry that is not declared")?;
    promise!(h.get(b"k")?.is_none(), "a refused put created its key");
    Ok(())
}
