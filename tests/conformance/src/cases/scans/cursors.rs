//! Cursors: each continues its own scan, and any other scan refuses it.

use keyway_loader::{ErrorCode, Scan};

use super::model::{keys_of, shown, walk_from};
use crate::{
    harness::{Broken, Harness, promise, refused},
    verdict::{Outcomes, Stop},
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
    if crate::cases::claims::is_reversible(&h.capabilities()) {
        foreign.push((prefix.in_reverse(), "direction"));
    }
    for (other, what) in foreign {
        let answer = h.scan(other.with_max_items(2).resuming_at(&cursor));
        refused(answer, expired, &format!("a scan with the cursor of a scan with another {what}"))?;
    }
    refused(h.scan(scan.resuming_at(b"x")), ErrorCode::INVALID_ARGUMENT, "a scan with a cursor of one byte")?;
    // Limits may differ from page to page.
    let first: Vec<_> = {
        let page = h.scan(scan)?;
        page.entries().iter().map(|entry| entry.key().to_vec()).collect()
    };
    let rest = keys_of(walk_from(h, scan.with_max_items(3), cursor)?);
    promise!(
        rest.len() + first.len() == 5 && rest.iter().all(|key| !first.contains(key)),
        "a first page had {}, and the rest, in pages of another size, {}",
        shown(&first),
        shown(&rest)
    );
    Ok(())
}

pub(super) fn reopened(h: &Harness<'_>) -> Outcomes {
    let (scan, cursor) = begun(h)?;
    let mut expected = keys_of(walk_from(h, scan, cursor.clone())?);
    h.reopen()?;
    match h.scan(scan.resuming_at(&cursor)) {
        Err(error) if error.code() == ErrorCode::CURSOR_EXPIRED => Ok(()),
        Err(error) => Err(Broken(format!("a cursor of an earlier opening failed with {error}"))),
        Ok(_) => {
            let mut rest = keys_of(walk_from(h, scan, cursor)?);
            rest.sort();
            expected.sort();
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
    let all: Vec<Vec<u8>> = (0..6).map(|index| format!("k{index}").into_bytes()).collect();
    for key in &all {
        h.put(key, b"v")?;
    }
    let scan = Scan::prefix(h.keyspace(), b"").with_max_items(2);
    let page = h.scan(scan)?;
    let met = page.entries().len();
    let Some(cursor) = page.cursor().map(<[u8]>::to_vec) else {
        return Err(Broken("a page of at most two of six keys has no cursor".into()));
    };
    // The last that was met, and the first that was not: the cursor lies between them.
    let (before, behind) = all.split_at(met);
    for key in before.last().into_iter().chain(behind.first()) {
        h.delete(key)?;
    }
    let keys = keys_of(walk_from(h, scan, cursor)?);
    let expected: Vec<_> = behind.iter().skip(1).cloned().collect();
    promise!(
        keys == expected,
        "after its neighbours were deleted, a scan went on with {}, and {} are left",
        shown(&keys),
        shown(&expected)
    );
    Ok(())
}
