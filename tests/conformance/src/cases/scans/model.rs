//! Scans against a model, and what the other cases walk with.

use std::collections::{BTreeMap, BTreeSet};

use keyway_loader::{Page, Scan};

use crate::{
    harness::{Broken, Harness, promise},
    verdict::{Outcomes, Stop},
};

/// More pages than any scan here can have.
const MAX_PAGES: usize = 200_000;
/// Empty pages in a row, after which a scan is not getting on.
const MAX_EMPTY_PAGES: usize = 1_000;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Entries and common prefixes, each in the order in which they came.
pub(super) type Walked = (Vec<(Vec<u8>, Vec<u8>)>, Vec<Vec<u8>>);

/// Hands over each page of a scan.
pub(super) fn each_page(h: &Harness<'_>, scan: Scan<'_>, take: impl FnMut(&Page) -> Outcomes) -> Outcomes {
    each_page_from(h, scan, Vec::new(), take)
}

fn each_page_from(
    h: &Harness<'_>,
    scan: Scan<'_>,
    mut cursor: Vec<u8>,
    mut take: impl FnMut(&Page) -> Outcomes,
) -> Outcomes {
    let mut empty = 0;
    for _ in 0..MAX_PAGES {
        let page = h.scan(scan.resuming_at(&cursor))?;
        promise!(
            page.len() <= scan.max_items() as usize,
            "a page of at most {} items has {}",
            scan.max_items(),
            page.len()
        );
        take(&page)?;
        empty = if page.is_empty() { empty + 1 } else { 0 };
        match page.cursor() {
            Some(_) if empty > MAX_EMPTY_PAGES => break,
            Some(next) => cursor = next.to_vec(),
            None => return Ok(()),
        }
    }
    Err(Broken(format!("{scan:?} does not come to an end: it goes on answering cursors")))
}

/// All entries and common prefixes of a scan, page by page.
pub(super) fn walk(h: &Harness<'_>, scan: Scan<'_>) -> Result<Walked, Stop> {
    walk_from(h, scan, Vec::new())
}

/// The same, going on at a cursor.
pub(super) fn walk_from(h: &Harness<'_>, scan: Scan<'_>, cursor: Vec<u8>) -> Result<Walked, Stop> {
    let (mut entries, mut prefixes) = (Vec::new(), Vec::new());
    each_page_from(h, scan, cursor, |page| {
        let of_page = page.entries().iter();
        entries.extend(of_page.map(|entry| (entry.key().to_vec(), entry.record().value().to_vec())));
        prefixes.extend(page.prefixes().iter().map(|prefix| prefix.to_vec()));
        Ok(())
    })?;
    Ok((entries, prefixes))
}

pub(super) fn keys_of(walked: Walked) -> Vec<Vec<u8>> {
    walked.0.into_iter().map(|(key, _)| key).collect()
}

/// Keys for people, the first few of them.
pub(super) fn shown(keys: &[Vec<u8>]) -> String {
    let mut text: Vec<String> =
        keys.iter().take(5).map(|key| format!("\"{}\"", key.escape_ascii())).collect();
    if keys.len() > text.len() {
        text.push(format!("and {} more", keys.len() - text.len()));
    }
    if text.is_empty() { "no key".to_owned() } else { text.join(", ") }
}

/// What two lists differ in, from their first difference on.
fn difference(found: &[Vec<u8>], expected: &[Vec<u8>]) -> String {
    let at = found.iter().zip(expected).take_while(|(one, other)| one == other).count();
    let (_, found_rest) = found.split_at(at.min(found.len()));
    let (_, expected_rest) = expected.split_at(at.min(expected.len()));
    format!(
        "from place {at} on it answered {}, and the model has {}",
        shown(found_rest),
        shown(expected_rest)
    )
}

fn filled(h: &Harness<'_>, stream: u64, count: usize) -> Result<Model, Stop> {
    let mut random = h.random(stream);
    let mut model = Model::new();
    for index in 0..count {
        let key = random.key(6);
        // Some are written again, some are gone.
        if random.below(8) == 0 {
            h.delete(&key)?;
            model.remove(&key);
        } else {
            let value = index.to_string().into_bytes();
            h.put(&key, &value)?;
            model.insert(key, value);
        }
    }
    Ok(model)
}

pub(super) fn pages_equal_model(h: &Harness<'_>) -> Outcomes {
    let model = filled(h, 1, 200)?;
    let mut random = h.random(2);
    for _ in 0..h.rounds(80, 5_000) {
        let (prefix, start, end) = (random.key(2), random.key(3), random.key(3));
        let end = (random.below(3) > 0).then_some(end);
        let max_items = 1 + u32::try_from(random.below(40)).unwrap_or(0);
        let reverse = random.below(2) == 1 && crate::cases::claims::is_reversible(&h.capabilities());
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
        let keys =
            |pairs: &[(Vec<u8>, Vec<u8>)]| pairs.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        let (found, wanted) = (keys(&entries), keys(&expected));
        promise!(found == wanted, "{scan:?}: {}", difference(&found, &wanted));
        promise!(entries == expected, "{scan:?} answered a key with another value than was written last");
    }
    Ok(())
}

/// The keys and the common prefixes that a scan with a delimiter has to answer.
fn folded(model: &Model, prefix: &[u8], delimiter: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut keys, mut prefixes) = (Vec::new(), BTreeSet::new());
    for key in model.keys().filter(|key| key.starts_with(prefix)) {
        let (_, rest) = key.split_at(prefix.len());
        match rest.windows(delimiter.len()).position(|window| window == delimiter) {
            Some(at) => {
                let (folded, _) = key.split_at(prefix.len() + at + delimiter.len());
                prefixes.insert(folded.to_vec());
            }
            None => keys.push(key.clone()),
        }
    }
    (keys, prefixes.into_iter().collect())
}

pub(super) fn delimiter_equals_model(h: &Harness<'_>) -> Outcomes {
    let model = filled(h, 3, 250)?;
    let mut random = h.random(4);
    for _ in 0..h.rounds(60, 5_000) {
        let prefix = random.key(2);
        let delimiter: &[u8] = if random.below(4) == 0 { b"a/" } else { b"/" };
        let max_items = 1 + u32::try_from(random.below(10)).unwrap_or(0);
        let (mut expected_keys, mut expected_prefixes) = folded(&model, &prefix, delimiter);
        let mut scan = Scan::prefix(h.keyspace(), &prefix).delimited_by(delimiter).with_max_items(max_items);
        if crate::cases::claims::is_reversible(&h.capabilities()) && random.below(2) == 1 {
            scan = scan.in_reverse();
            expected_keys.reverse();
            expected_prefixes.reverse();
        }
        let (entries, prefixes) = walk(h, scan)?;
        let keys: Vec<_> = entries.into_iter().map(|(key, _)| key).collect();
        promise!(keys == expected_keys, "{scan:?}: {}", difference(&keys, &expected_keys));
        promise!(
            prefixes == expected_prefixes,
            "{scan:?}: of common prefixes, {}",
            difference(&prefixes, &expected_prefixes)
        );
    }
    Ok(())
}
