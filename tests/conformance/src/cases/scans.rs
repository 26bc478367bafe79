//! Scans: each key once, in order, a page at a time.

mod cursors;
mod model;

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use keyway_loader::{ErrorCode, Scan};

use self::model::{keys_of, walk};
use crate::{
    Case,
    harness::{Harness, again_on_conflict, promise, refused},
    verdict::Outcomes,
};

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "scan_answers_each_key_once",
        "a scan answers each key that is there exactly once, with its value and version, over however many pages",
        each_once,
    ),
    Case::new(
        "scan_pages_equal_model",
        "a scan answers the keys that begin with the prefix and lie in [start, end), in bytewise order or in reverse",
        model::pages_equal_model,
    )
    .when(super::claims::is_ordered),
    Case::new(
        "scan_union_of_pages_is_one_page_for_every_limit",
        "pages of any size together hold what one page would hold; a page has at most the wanted number of items",
        every_limit,
    ),
    Case::new(
        "scan_with_delimiter_equals_model",
        "keys with the delimiter after the prefix are folded into one common prefix each, which ends with it",
        model::delimiter_equals_model,
    )
    .when(super::claims::is_ordered),
    Case::new(
        "scan_of_edges_is_exact",
        "prefixes and bounds are bytes: nothing follows 0xff, `end` is exclusive, an inverted range is empty",
        edges,
    ),
    Case::new("scan_keys_only_has_no_values", "a scan for keys only brings keys and versions, and no values", keys_only),
    Case::new(
        "scan_byte_limit_always_progresses",
        "a page holds at most the asked bytes, but one item however large: each page but the last brings the scan on",
        byte_limit,
    ),
    Case::new(
        "scan_of_nothing_is_empty_and_done",
        "a scan is done when no cursor comes back, and one of nothing is done at once",
        empty,
    ),
    Case::new(
        "scan_cursor_altered_or_foreign_is_refused",
        "a cursor belongs to its scan: an altered one or another scan's is CursorExpired, and one that cannot be a cursor InvalidArgument",
        cursors::refused_ones,
    ),
    Case::new(
        "scan_cursor_after_reopening_is_valid_or_expired",
        "a cursor belongs to one opening of the backend: after the next opening it continues, or is CursorExpired",
        cursors::reopened,
    ),
    Case::new(
        "scan_whose_cursor_key_was_deleted_goes_on",
        "a cursor is a position between keys: it stays valid when the keys next to it are deleted",
        cursors::key_deleted,
    )
    .when(super::claims::is_ordered),
    Case::new(
        "scan_under_churn_meets_stable_keys_once",
        "a key that exists throughout a scan appears exactly once, even if its neighbours change",
        churn,
    ),
    Case::new(
        "scan_in_reverse_not_declared_is_unsupported",
        "a scan in reverse is Unsupported if REVERSE_SCAN is not declared",
        reverse_unsupported,
    )
    .when(|capabilities| !super::claims::is_reversible(capabilities)),
];

fn each_once(h: &Harness<'_>) -> Outcomes {
    let count = h.rounds(1_500, 100_000);
    let mut expected = Vec::new();
    for index in 0..count {
        let (key, value) = (format!("{index:06}").into_bytes(), index.to_string().into_bytes());
        let version = h.put(&key, &value)?;
        expected.push((key, value, version));
    }
    let mut seen = Vec::new();
    model::each_page(h, Scan::prefix(h.keyspace(), b""), |page| {
        seen.extend(page.entries().iter().map(|entry| {
            let record = entry.record();
            (entry.key().to_vec(), record.value().to_vec(), record.version())
        }));
        Ok(())
    })?;
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    promise!(seen.len() == count, "{count} keys are there, and a scan answered {}", seen.len());
    let differs = seen.iter().zip(&expected).find(|(one, other)| one != other);
    promise!(
        differs.is_none(),
        "a scan answered (key, value, version) {:?}, and written was {:?}",
        differs.map(|pair| pair.0),
        differs.map(|pair| pair.1)
    );
    Ok(())
}

fn every_limit(h: &Harness<'_>) -> Outcomes {
    let count = 60_u32;
    for index in 0..count {
        h.put(format!("{}{index:02}", if index % 3 == 0 { "x/" } else { "" }).as_bytes(), b"v")?;
    }
    let mut scans = vec![Scan::prefix(h.keyspace(), b"")];
    if super::claims::is_ordered(&h.capabilities()) {
        scans.push(Scan::prefix(h.keyspace(), b"").delimited_by(b"/"));
    }
    if super::claims::is_reversible(&h.capabilities()) {
        scans.push(Scan::prefix(h.keyspace(), b"").in_reverse());
    }
    for scan in scans {
        let mut whole = walk(h, scan.with_max_items(1_000))?;
        for limit in 1..=count + 1 {
            let mut pages = walk(h, scan.with_max_items(limit))?;
            if !super::claims::is_ordered(&h.capabilities()) {
                whole.0.sort();
                pages.0.sort();
            }
            promise!(
                pages == whole,
                "in pages of {limit} a scan answered {} keys and {} common prefixes, in one page {} and {}",
                pages.0.len(),
                pages.1.len(),
                whole.0.len(),
                whole.1.len()
            );
        }
    }
    Ok(())
}

fn edges(h: &Harness<'_>) -> Outcomes {
    let keys: [&[u8]; 9] = [b"", b"\0", b"a", b"a\0", b"a\xff", b"b", b"\xff", b"\xff\0", b"\xff\xff"];
    for key in keys {
        h.put(key, b"v")?;
    }
    let space = h.keyspace();
    let expected: [(Scan<'_>, &[&[u8]]); 9] = [
        (Scan::prefix(space, b"\xff"), &[b"\xff", b"\xff\0", b"\xff\xff"]),
        (Scan::prefix(space, b"\xff\xff"), &[b"\xff\xff"]),
        (Scan::prefix(space, b"a"), &[b"a", b"a\0", b"a\xff"]),
        (Scan::prefix(space, b"a\xff"), &[b"a\xff"]),
        (Scan::range(space, b"a", Some(b"b")), &[b"a", b"a\0", b"a\xff"]),
        (Scan::range(space, b"a\0", Some(b"a\0\0")), &[b"a\0"]),
        (Scan::range(space, b"", Some(b"\0")), &[b""]),
        (Scan::range(space, b"b", Some(b"b")), &[]),
        (Scan::range(space, b"b", Some(b"a")), &[]),
    ];
    for (scan, wanted) in expected {
        let mut found = keys_of(walk(h, scan)?);
        found.sort();
        let wanted: Vec<Vec<u8>> = wanted.iter().map(|key| key.to_vec()).collect();
        promise!(
            found == wanted,
            "{scan:?} answered {}, and {} lie there",
            model::shown(&found),
            model::shown(&wanted)
        );
    }
    Ok(())
}

fn keys_only(h: &Harness<'_>) -> Outcomes {
    let version = h.put(b"k", b"value")?;
    let mut met = 0;
    model::each_page(h, Scan::prefix(h.keyspace(), b"").keys_only(), |page| {
        for entry in page.entries() {
            met += 1;
            promise!(
                entry.key() == b"k" && entry.record().value().is_empty(),
                "a scan for keys only brought a value"
            );
            promise!(
                entry.record().version() == version,
                "a scan for keys only has another version than put answered"
            );
        }
        Ok(())
    })?;
    promise!(met == 1, "a scan of one key answered {met}");
    Ok(())
}

fn byte_limit(h: &Harness<'_>) -> Outcomes {
    for index in 0..20 {
        h.put(format!("k{index:02}").as_bytes(), &[7; 100])?;
    }
    for max_bytes in [1, 102, 103, 104, 350, 10_000] {
        let scan = Scan::prefix(h.keyspace(), b"").with_max_bytes(max_bytes);
        let mut found = 0;
        model::each_page(h, scan, |page| {
            let bytes: usize =
                page.entries().iter().map(|entry| entry.key().len() + entry.record().value().len()).sum();
            let within = bytes as u64 <= max_bytes || page.len() == 1;
            promise!(
                within,
                "a page of at most {max_bytes} bytes held {} items of {bytes} bytes",
                page.len()
            );
            found += page.len();
            Ok(())
        })?;
        promise!(found == 20, "in pages of {max_bytes} bytes a scan answered {found} of 20 keys");
    }
    Ok(())
}

fn empty(h: &Harness<'_>) -> Outcomes {
    let nothing = |scan: Scan<'_>, what: &str| -> Outcomes {
        let found = walk(h, scan)?;
        promise!(found.0.is_empty() && found.1.is_empty(), "{what} has keys");
        Ok(())
    };
    let all = Scan::prefix(h.keyspace(), b"");
    nothing(all, "a keyspace that was never written to")?;
    h.put(b"m", b"v")?;
    nothing(Scan::prefix(h.keyspace(), b"n"), "a prefix that no key has")?;
    h.delete(b"m")?;
    nothing(all, "a keyspace whose only key was deleted")
}

fn churn(h: &Harness<'_>) -> Outcomes {
    let stable: Vec<Vec<u8>> = (0..100).map(|index| format!("s{index:03}").into_bytes()).collect();
    for key in &stable {
        h.put(key, b"v")?;
    }
    let (stop, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let churner = scope.spawn(|| {
            let mut random = h.random(1);
            while !stop.load(Ordering::Relaxed) {
                let key = format!("s{:03}x", random.below(100)).into_bytes();
                if random.below(2) == 0 {
                    again_on_conflict(|| h.put(&key, b"v")).map(drop)?;
                } else {
                    again_on_conflict(|| h.delete(&key)).map(drop)?;
                }
                changes.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), crate::Stop>(())
        });
        let rounds = h.rounds(10, 300) as u64;
        let checked = (0..rounds).try_for_each(|round| {
            while changes.load(Ordering::Relaxed) <= round && !churner.is_finished() {
                thread::yield_now();
            }
            let mut scan = Scan::prefix(h.keyspace(), b"s").with_max_items(7);
            if round % 2 == 1 && super::claims::is_reversible(&h.capabilities()) {
                scan = scan.in_reverse();
            }
            let mut met: Vec<_> = keys_of(walk(h, scan)?).into_iter().filter(|key| key.len() == 4).collect();
            met.sort();
            let twice = met.windows(2).find(|pair| pair.first() == pair.last());
            promise!(
                twice.is_none(),
                "a key that was there throughout was met twice: {}",
                model::shown(twice.unwrap_or_default())
            );
            let missed: Vec<_> = stable.iter().filter(|key| !met.contains(key)).cloned().collect();
            promise!(
                missed.is_empty(),
                "keys that were there throughout were not met: {}",
                model::shown(&missed)
            );
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        checked.and(churner.join().expect("the churner does not panic"))
    })
}

fn reverse_unsupported(h: &Harness<'_>) -> Outcomes {
    let scan = Scan::prefix(h.keyspace(), b"").in_reverse();
    refused(h.scan(scan), ErrorCode::UNSUPPORTED, "a scan in reverse that is not declared")
}
