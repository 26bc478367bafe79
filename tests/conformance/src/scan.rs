//! Scans against a model: order, bounds, delimiter, pages, cursors.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use keyway_loader::{ErrorCode, Features, Scan, ScanOrder};

use crate::{
    Case,
    harness::{Harness, Outcomes, promise, refused},
    random::Random,
};

pub(crate) const CASES: &[Case] = &[
    Case { name: "scan_pages_equal_model", applies: ordered, run: pages_equal_model },
    Case { name: "scan_with_delimiter_equals_model", applies: ordered, run: delimiter_equals_model },
    Case { name: "scan_keys_only_has_no_values", applies: |_| true, run: keys_only },
    Case { name: "scan_byte_limit_always_progresses", applies: |_| true, run: byte_limit },
    Case { name: "scan_of_nothing_is_empty_and_done", applies: |_| true, run: empty },
    Case { name: "scan_cursor_altered_or_foreign_is_refused", applies: |_| true, run: cursor_refused },
    Case { name: "scan_whose_cursor_key_was_deleted_goes_on", applies: ordered, run: cursor_key_deleted },
    Case { name: "scan_under_churn_meets_stable_keys_once", applies: |_| true, run: churn },
    Case {
        name: "scan_in_reverse_not_declared_is_unsupported",
        applies: no_reverse,
        run: reverse_unsupported,
    },
];

fn ordered(capabilities: &keyway_loader::Capabilities) -> bool {
    capabilities.scan_order == ScanOrder::BYTEWISE
}

fn no_reverse(capabilities: &keyway_loader::Capabilities) -> bool {
    !capabilities.features.contains(Features::REVERSE_SCAN)
}

/// More pages than any scan here can have.
const MAX_PAGES: usize = 10_000;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Entries and common prefixes, each in the order in which they came.
type Walked = (Vec<(Vec<u8>, Vec<u8>)>, Vec<Vec<u8>>);

fn filled(h: &Harness, seed: u64, count: usize) -> Result<Model, crate::Broken> {
    let mut random = Random::new(seed);
    let mut model = Model::new();
    for index in 0..count {
        let (key, value) = (random.key(6), index.to_string().into_bytes());
        h.put(&key, &value)?;
        model.insert(key, value);
    }
    Ok(model)
}

/// All entries and common prefixes of a scan in page order, page by page.
fn walk(h: &Harness, scan: Scan<'_>) -> Result<Walked, crate::Broken> {
    let (mut entries, mut prefixes, mut cursor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..MAX_PAGES {
        let page = h.scan(scan.resuming_at(&cursor))?;
        promise!(page.len() <= scan.max_items() as usize, "a page has more items than were asked for");
        entries.extend(
            page.entries().iter().map(|entry| (entry.key().to_vec(), entry.record().value().to_vec())),
        );
        prefixes.extend(page.prefixes().iter().map(|prefix| prefix.to_vec()));
        match page.cursor() {
            Some(next) => cursor = next.to_vec(),
            None => return Ok((entries, prefixes)),
        }
    }
    Err(crate::Broken(format!("{scan:?} is not done after {MAX_PAGES} pages")))
}

fn pages_equal_model(h: &Harness) -> Outcomes {
    let model = filled(h, 11, 150)?;
    let mut random = Random::new(12);
    for _ in 0..60 {
        let (prefix, start, end) = (random.key(2), random.key(3), random.key(3));
        let end = (random.below(3) > 0).then_some(end);
        let max_items = 1 + u32::try_from(random.below(40)).unwrap_or(0);
        let reverse = random.below(2) == 1 && h.capabilities().features.contains(Features::REVERSE_SCAN);
        let mut scan = Scan::prefix(h.keyspace(), &prefix)
            .starting_at(&start)
            .ending_before(end.as_deref())
            .with_max_items(max_items);
        let inside = |key: &Vec<u8>| {
            key.starts_with(&prefix) && *key >= start && end.as_ref().is_none_or(|end| key < end)
        };
        let mut expected: Vec<_> = model
            .iter()
            .filter(|(key, _)| inside(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if reverse {
            scan = scan.in_reverse();
            expected.reverse();
        }
        let (entries, _) = walk(h, scan)?;
        promise!(
            entries == expected,
            "{scan:?} gave {} keys, in pages of {max_items}, and the model {}",
            entries.len(),
            expected.len()
        );
    }
    Ok(())
}

fn delimiter_equals_model(h: &Harness) -> Outcomes {
    let model = filled(h, 21, 200)?;
    let mut random = Random::new(22);
    let reversible = h.capabilities().features.contains(Features::REVERSE_SCAN);
    for round in 0..40 {
        let prefix = random.key(2);
        let delimiter: &[u8] = if random.below(4) == 0 { b"a/" } else { b"/" };
        let max_items = 1 + u32::try_from(random.below(10)).unwrap_or(0);
        let mut expected_keys = Vec::new();
        let mut expected_prefixes = BTreeSet::new();
        for key in model.keys().filter(|key| key.starts_with(&prefix)) {
            let (_, rest) = key.split_at(prefix.len());
            match rest.windows(delimiter.len()).position(|window| window == delimiter) {
                Some(at) => {
                    let (folded, _) = key.split_at(prefix.len() + at + delimiter.len());
                    expected_prefixes.insert(folded.to_vec());
                }
                None => expected_keys.push(key.clone()),
            }
        }
        let mut expected_prefixes: Vec<_> = expected_prefixes.into_iter().collect();
        let mut scan = Scan::prefix(h.keyspace(), &prefix).delimited_by(delimiter).with_max_items(max_items);
        if reversible && round % 2 == 1 {
            scan = scan.in_reverse();
            expected_keys.reverse();
            expected_prefixes.reverse();
        }
        let (entries, prefixes) = walk(h, scan)?;
        let keys: Vec<_> = entries.into_iter().map(|(key, _)| key).collect();
        promise!(keys == expected_keys, "{scan:?} gave other keys than the model");
        promise!(
            prefixes == expected_prefixes,
            "{scan:?} gave other common prefixes than the model: {prefixes:?}"
        );
    }
    Ok(())
}

fn keys_only(h: &Harness) -> Outcomes {
    let version = h.put(b"k", b"value")?;
    let page = h.scan(Scan::prefix(h.keyspace(), b"").keys_only())?;
    let Some([entry]) = Some(page.entries()) else {
        return Err(crate::Broken("a scan of one key gave another number".into()));
    };
    promise!(
        entry.key() == b"k" && entry.record().value().is_empty(),
        "a scan for keys only brought a value"
    );
    promise!(
        entry.record().version() == version,
        "a scan for keys only has another version than put answered"
    );
    Ok(())
}

fn byte_limit(h: &Harness) -> Outcomes {
    for index in 0..20 {
        h.put(format!("k{index:02}").as_bytes(), &[7; 100])?;
    }
    let (entries, _) = walk(h, Scan::prefix(h.keyspace(), b"").with_max_bytes(1))?;
    promise!(entries.len() == 20, "a limit of one byte gave {} of 20 keys", entries.len());
    let page = h.scan(Scan::prefix(h.keyspace(), b"").with_max_bytes(350))?;
    promise!(page.len() == 3, "a page of 350 bytes held {} records of 103", page.len());
    Ok(())
}

fn empty(h: &Harness) -> Outcomes {
    let page = h.scan(Scan::prefix(h.keyspace(), b""))?;
    promise!(page.is_empty() && page.cursor().is_none(), "a keyspace without keys has some");
    h.put(b"m", b"v")?;
    let page = h.scan(Scan::range(h.keyspace(), b"z", Some(b"a")))?;
    promise!(page.is_empty() && page.cursor().is_none(), "an inverted range has keys");
    let page = h.scan(Scan::prefix(h.keyspace(), b"\xff\xff"))?;
    promise!(page.is_empty() && page.cursor().is_none(), "a prefix of 0xff bytes has keys");
    Ok(())
}

fn cursor_refused(h: &Harness) -> Outcomes {
    for index in 0..5 {
        h.put(format!("k{index}").as_bytes(), b"v")?;
    }
    let scan = Scan::prefix(h.keyspace(), b"k").with_max_items(2);
    let page = h.scan(scan)?;
    let Some(cursor) = page.cursor() else {
        return Err(crate::Broken("a page of two of five keys has no cursor".into()));
    };
    for at in 0..cursor.len() {
        let mut altered = cursor.to_vec();
        if let Some(byte) = altered.get_mut(at) {
            *byte ^= 1;
        }
        refused(
            h.scan(scan.resuming_at(&altered)),
            ErrorCode::CURSOR_EXPIRED,
            "a scan with an altered cursor",
        )?;
    }
    let other = Scan::prefix(h.keyspace(), b"").with_max_items(2);
    refused(
        h.scan(other.resuming_at(cursor)),
        ErrorCode::CURSOR_EXPIRED,
        "a scan with another scan's cursor",
    )?;
    refused(h.scan(scan.resuming_at(b"x")), ErrorCode::INVALID_ARGUMENT, "a scan with a cursor of one byte")?;
    Ok(())
}

fn cursor_key_deleted(h: &Harness) -> Outcomes {
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
    promise!(keys == [b"d".to_vec()], "after its neighbours were deleted, a scan went on with {keys:?}");
    Ok(())
}

fn churn(h: &Harness) -> Outcomes {
    let stable: Vec<Vec<u8>> = (0..100).map(|index| format!("s{index:03}").into_bytes()).collect();
    for key in &stable {
        h.put(key, b"v")?;
    }
    let (stop, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let churner = scope.spawn(|| {
            let mut random = Random::new(31);
            while !stop.load(Ordering::Relaxed) {
                let key = format!("s{:03}x", random.below(100)).into_bytes();
                if random.below(2) == 0 {
                    h.put(&key, b"v").map(|_| ())?
                } else {
                    h.delete(&key).map(|_| ())?
                }
                changes.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), crate::Broken>(())
        });
        let checked = (0..5).try_for_each(|round| {
            while changes.load(Ordering::Relaxed) <= round && !churner.is_finished() {
                thread::yield_now();
            }
            let (entries, _) = walk(h, Scan::prefix(h.keyspace(), b"s").with_max_items(7))?;
            let met: Vec<_> = entries.into_iter().map(|(key, _)| key).filter(|key| key.len() == 4).collect();
            promise!(met == stable, "keys that were there throughout were met {} times, not 100", met.len());
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        checked.and(churner.join().expect("the churner does not panic"))
    })
}

fn reverse_unsupported(h: &Harness) -> Outcomes {
    let scan = Scan::prefix(h.keyspace(), b"").in_reverse();
    refused(h.scan(scan), ErrorCode::UNSUPPORTED, "a scan in reverse that is not declared")
}
