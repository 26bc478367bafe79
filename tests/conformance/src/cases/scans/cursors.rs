//! Cursors: where a scan goes on, and nobody else's.

use keyway_loader::{ErrorCode, Scan};

use super::model::{keys_of, shown, walk};
use crate::{
    case::{Outcomes, Stop},
    harness::{Broken, Harness, promise, refused},
};

/// A scan of five keys, two at a time, and its first cursor.
fn begun<'h>(h: &'h Harness<'_>) -> Result<(Scan<'h>, Vec<u8>), Stop> {
    for index in 0..5 {
        h.put(format!("k{index}").as_bytes(), b"v")?;
    }
    let scan = Scan::prefix(h.keyspace(), b"k").with_max_items(2);
    let page = h.scan(scan)?;
    match page.cursor() {
        Some(cursor) => Ok((scan, cursor.to_vec())),
        None => Err(Broken("a page of at most two of five keys has no cursor".into())),
    }
}

pub(super) fn refused_ones(h: &Harness<'_>) -> Outcomes {
    let (scan, cursor) = begun(h)?;
    let expired = ErrorCode::CURSOR_EXPIRED;
    for at in 0..cursor.len() {
        let mut altered = cursor.clone();
        if let Some(byte) = altered.get_mut(at) {
            *byte ^= 1;
        }
        refused(
            h.scan(scan.resuming_at(&altered)),
            expired,
            &format!("a scan with a cursor whose byte {at} was altered"),
        )?;
    }
    let longer = [cursor.as_slice(), b"x"].concat();
    refused(h.scan(scan.resuming_at(&longer)), expired, "a scan with a cursor that was made longer")?;
    let other_space = format!("{}-other", h.keyspace());
    let prefix = Scan::prefix(h.keyspace(), b"k");
    let mut foreign = vec![
        (Scan::prefix(h.keyspace(), b""), "prefix"),
        (Scan::prefix(&other_space, b"k"), "keyspace"),
        (prefix.starting_at(b"k1"), "start"),
        (prefix.ending_before(Some(b"k4")), "end"),
        (prefix.delimited_by(b"/"), "delimiter"),
    ];
    if crate::cases::is_reversible(&h.capabilities()) {
        foreign.push((prefix.in_reverse(), "direction"));
    }
    for (other, what) in foreign {
        let answer = h.scan(other.with_max_items(2).resuming_at(&cursor));
        refused(answer, expired, &format!("a scan with the cursor of a scan with another {what}"))?;
    }
    refused(h.scan(scan.resuming_at(b"x")), ErrorCode::INVALID_ARGUMENT, "a scan with a cursor of one byte")?;
    // Limits may differ from page to page.
    let rest = h.scan(scan.with_max_items(3).resuming_at(&cursor))?;
    promise!(rest.len() == 3, "three keys are left, and the next page, of at most three, has {}", rest.len());
    Ok(())
}

pub(super) fn reopened(h: &Harness<'_>) -> Outcomes {
    let (scan, cursor) = begun(h)?;
    let mut all = keys_of(walk(h, scan)?);
    h.reopen()?;
    match h.scan(scan.resuming_at(&cursor)) {
        Err(error) if error.code() == ErrorCode::CURSOR_EXPIRED => Ok(()),
        Err(error) => Err(Broken(format!("a cursor of an earlier opening failed with {error}"))),
        Ok(page) => {
            let rest: Vec<_> = page.entries().iter().map(|entry| entry.key().to_vec()).collect();
            let expected: Vec<_> = all.drain(2..4).collect();
            promise!(
                rest == expected,
                "a cursor of an earlier opening went on with {}, and not with {}",
                shown(&rest),
                shown(&expected)
            );
            Ok(())
        }
    }
}

pub(super) fn key_deleted(h: &Harness<'_>) -> Outcomes {
    for key in [b"a", b"b", b"c", b"d"] {
        h.put(key, b"v")?;
    }
    let scan = Scan::prefix(h.keyspace(), b"").with_max_items(2);
    let page = h.scan(scan)?;
    let cursor = page.cursor().map(<[u8]>::to_vec).unwrap_or_default();
    h.delete(b"b")?;
    h.delete(b"c")?;
    let page = h.scan(scan.resuming_at(&cursor))?;
    let keys: Vec<_> = page.entries().iter().map(|entry| entry.key().to_vec()).collect();
    promise!(
        keys == [b"d".to_vec()],
        "after its neighbours were deleted, a scan went on with {}",
        shown(&keys)
    );
    Ok(())
}
