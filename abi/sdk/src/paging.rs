//! The part of an ordered scan that all backends share: bounds, delimiter, page limits, where the next page
//! begins.
//!
//! A backend walks its keys between [`ScanPlan::lower`] and [`ScanPlan::upper`] in the asked direction and offers
//! each to a [`Pager`], which says how to go on. It visits at most one key more than it returns.

use std::borrow::Cow;

use keyway_abi::{AbiBytes, BackupChunk, BackupPull, BackupRecord, Entry, Page, Record, Scan};

/// What to walk: one scan with its cursor resolved.
#[derive(Debug, Clone)]
pub struct ScanPlan<'a> {
    keyspace: Cow<'a, str>,
    prefix: Cow<'a, [u8]>,
    delimiter: Option<Cow<'a, [u8]>>,
    lower: Cow<'a, [u8]>,
    upper: Option<Cow<'a, [u8]>>,
    reverse: bool,
    keys_only: bool,
    max_items: usize,
    max_bytes: u64,
}

impl<'a> ScanPlan<'a> {
    /// The plan of `scan`, going on at `position` where an earlier page ended.
    pub fn new(scan: &Scan<'a>, position: Option<&'a [u8]>) -> Self {
        let mut lower = Cow::Borrowed(scan.start().max(scan.key_prefix()));
        let mut upper = match (scan.end(), successor(scan.key_prefix())) {
            (Some(end), Some(successor)) if *end > *successor => Some(Cow::Owned(successor)),
            (Some(end), _) => Some(Cow::Borrowed(end)),
            (None, successor) => successor.map(Cow::Owned),
        };
        if let Some(position) = position {
            if scan.is_reverse() {
                upper = Some(Cow::Borrowed(position));
            } else {
                lower = Cow::Borrowed(position);
            }
        }
        Self {
            keyspace: Cow::Borrowed(scan.keyspace()),
            prefix: Cow::Borrowed(scan.key_prefix()),
            delimiter: scan.delimiter().map(Cow::Borrowed),
            lower,
            upper,
            reverse: scan.is_reverse(),
            keys_only: scan.is_keys_only(),
            max_items: scan.max_items() as usize,
            max_bytes: scan.max_bytes(),
        }
    }

    /// The same plan, owning its bytes.
    pub fn into_owned(self) -> ScanPlan<'static> {
        ScanPlan {
            keyspace: Cow::Owned(self.keyspace.into_owned()),
            prefix: Cow::Owned(self.prefix.into_owned()),
            delimiter: self.delimiter.map(|delimiter| Cow::Owned(delimiter.into_owned())),
            lower: Cow::Owned(self.lower.into_owned()),
            upper: self.upper.map(|upper| Cow::Owned(upper.into_owned())),
            reverse: self.reverse,
            keys_only: self.keys_only,
            max_items: self.max_items,
            max_bytes: self.max_bytes,
        }
    }

    /// The keyspace to walk.
    pub fn keyspace(&self) -> &str {
        &self.keyspace
    }

    /// The inclusive lower bound.
    pub fn lower(&self) -> &[u8] {
        &self.lower
    }

    /// The exclusive upper bound; none means to the end.
    pub fn upper(&self) -> Option<&[u8]> {
        self.upper.as_deref()
    }

    /// Whether no key can lie between the bounds.
    pub fn is_empty(&self) -> bool {
        self.upper().is_some_and(|upper| upper <= self.lower())
    }

    /// Whether to walk from the upper bound down.
    pub fn is_reverse(&self) -> bool {
        self.reverse
    }

    /// Whether values are left out of the page.
    pub fn is_keys_only(&self) -> bool {
        self.keys_only
    }

    /// Most items of the page. A walk needs one key more to know whether there is another page.
    pub fn max_items(&self) -> usize {
        self.max_items
    }

    /// Most bytes of the page: keys and values, or keys alone if values are left out; one item may be larger.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// What every key begins with, for a store that finds common prefixes itself.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// What ends a common prefix, if any does.
    pub fn delimiter(&self) -> Option<&[u8]> {
        self.delimiter.as_deref()
    }

    /// The same walk as a scan, for a backend that hands it on to another. That one's cursor is none here: if
    /// its page has one, set [`resume_behind`].
    pub fn as_scan(&self) -> Scan<'_> {
        let scan = Scan::prefix(&self.keyspace, &self.prefix)
            .starting_at(&self.lower)
            .ending_before(self.upper.as_deref())
            .delimited_by(self.delimiter.as_deref().unwrap_or_default())
            .with_max_items(u32::try_from(self.max_items).unwrap_or(u32::MAX))
            .with_max_bytes(self.max_bytes);
        let scan = if self.reverse { scan.in_reverse() } else { scan };
        if self.keys_only { scan.keys_only() } else { scan }
    }

    /// The plan for the keys after a [`Step::Seek`].
    fn narrow(&mut self, bound: Vec<u8>) {
        if self.reverse {
            self.upper = Some(Cow::Owned(bound));
        } else {
            self.lower = Cow::Owned(bound);
        }
    }

    fn common_prefix<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let delimiter = self.delimiter.as_deref()?;
        let rest = key.get(self.prefix.len()..)?;
        let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
        key.get(..self.prefix.len() + at + delimiter.len())
    }
}

/// How a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To the next key.
    Next,
    /// Jump: the bounds of [`Pager::plan`] have been narrowed past a common prefix; walk from there.
    Seek,
    /// The page is complete.
    Done,
}

/// Fills one page.
#[derive(Debug)]
pub struct Pager<'a> {
    plan: ScanPlan<'a>,
    page: Page,
    items: usize,
    bytes: u64,
}

impl<'a> Pager<'a> {
    /// An empty page for `plan`.
    pub fn new(plan: ScanPlan<'a>) -> Self {
        Self { plan, page: Page::new(), items: 0, bytes: 0 }
    }

    /// The bounds that are left to walk.
    pub fn plan(&self) -> &ScanPlan<'a> {
        &self.plan
    }

    /// How many more items fit.
    pub fn room(&self) -> usize {
        self.plan.max_items - self.items
    }

    /// Takes the next key of the walk. `record` is only called for a key that goes into the page; `value_bytes` is
    /// the length of its value.
    pub fn offer(
        &mut self,
        key: &[u8],
        value_bytes: usize,
        record: impl FnOnce() -> (AbiBytes, Record),
    ) -> Step {
        let folded = self.plan.common_prefix(key).map(<[u8]>::to_vec);
        let size = match &folded {
            Some(prefix) => prefix.len(),
            None if self.plan.keys_only => key.len(),
            None => key.len() + value_bytes,
        } as u64;
        if self.items == self.plan.max_items || (self.items > 0 && self.bytes + size > self.plan.max_bytes) {
            self.page.set_cursor(Some(resume_at(key, self.plan.reverse).into()));
            return Step::Done;
        }
        self.items += 1;
        self.bytes += size;
        let Some(prefix) = folded else {
            let (key, record) = record();
            let record = if self.plan.keys_only { record.without_value() } else { record };
            self.page.push(Entry::new(key, record));
            return Step::Next;
        };
        let bound = if self.plan.reverse { Some(prefix.clone()) } else { successor(&prefix) };
        self.page.push_prefix(prefix);
        let Some(bound) = bound else { return Step::Done };
        self.plan.narrow(bound);
        if self.plan.is_empty() { Step::Done } else { Step::Seek }
    }

    /// The page.
    pub fn finish(self) -> Page {
        self.page
    }
}

/// The page of a scan over a store that can walk its keys in order.
///
/// `walk` is called with the bounds that are left, and again after each common prefix. It answers the keys of the
/// plan's keyspace between `lower` and `upper`, from the last to the first if the plan is in reverse, each with its
/// record. A value that is not needed (`is_keys_only`) may be empty.
///
/// # Errors
///
/// Those of `walk` and of its items.
///
/// ```
/// # use std::collections::BTreeMap;
/// # use keyway_sdk::{Page, Record, Result, Version, paging::{ScanPlan, scan_with}};
/// fn scan(keys: &BTreeMap<Vec<u8>, (Vec<u8>, Version)>, plan: ScanPlan<'_>) -> Result<Page> {
///     scan_with(plan, |plan| {
///         let upper = plan.upper().map(<[u8]>::to_vec);
///         let keys = keys.range(plan.lower().to_vec()..);
///         let inside = keys.take_while(move |(key, _)| upper.as_ref().is_none_or(|upper| *key < upper));
///         Ok(inside.map(|(key, (value, version))| Ok((key, Record::new(value.clone(), *version)))))
///     })
/// }
/// ```
pub fn scan_with<K, I>(
    plan: ScanPlan<'_>,
    mut walk: impl FnMut(&ScanPlan<'_>) -> crate::Result<I>,
) -> crate::Result<Page>
where
    K: AsRef<[u8]>,
    I: Iterator<Item = crate::Result<(K, Record)>>,
{
    let mut pager = Pager::new(plan);
    while !pager.plan().is_empty() {
        let mut next = Step::Done;
        for item in walk(pager.plan())? {
            let (key, record) = item?;
            let key = key.as_ref();
            next = pager.offer(key, record.value().len(), || (AbiBytes::copy_from_slice(key), record));
            if next != Step::Next {
                break;
            }
        }
        if next != Step::Seek {
            break;
        }
    }
    Ok(pager.finish())
}

/// The next chunk of a backup over records in the order of keyspace and key.
///
/// # Errors
///
/// Those of the records. No backup has a gap: the stream can then only be dropped.
pub fn chunk_with(
    records: &mut std::iter::Peekable<impl Iterator<Item = crate::Result<BackupRecord>>>,
    pull: BackupPull,
) -> crate::Result<BackupChunk> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while let Some(next) = records.peek() {
        if let Ok(record) = next {
            let size = (record.key().len() + record.value().len()) as u64;
            let is_full =
                chunk.len() as u64 >= u64::from(pull.max_items.max(1)) || bytes + size > pull.max_bytes;
            if is_full && !chunk.is_empty() {
                break;
            }
            bytes += size;
        }
        if let Some(record) = records.next() {
            chunk.push(record?);
        }
    }
    let is_last = records.peek().is_none();
    Ok(BackupChunk::new(chunk, is_last))
}

/// The bound from which a walk meets `key` first.
fn resume_at(key: &[u8], reverse: bool) -> Vec<u8> {
    let mut bound = key.to_vec();
    if reverse {
        bound.push(0);
    }
    bound
}

/// The bound from which a walk goes on after a page: the inclusive lower one, or in reverse the exclusive upper one. None
/// if no key can come after it, or if the page is empty.
pub fn resume_behind(page: &Page, is_reverse: bool) -> Option<AbiBytes> {
    let keys = page.entries().iter().map(Entry::key);
    let prefixes = page.prefixes().iter().map(|prefix| &**prefix);
    if is_reverse {
        return keys.chain(prefixes).min().map(AbiBytes::copy_from_slice);
    }
    let behind_key = keys.max().map(|key| [key, &[0]].concat());
    let last_prefix = prefixes.max();
    let behind_prefix = last_prefix.map(successor);
    match (behind_key, behind_prefix) {
        // No key comes after a prefix of 0xff alone.
        (_, Some(None)) => None,
        (key, prefix) => key.max(prefix.flatten()).map(AbiBytes::from),
    }
}

/// The smallest key that is greater than every key with this prefix; none if the prefix is empty or all 0xff.
pub fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut bound = prefix.get(..=last)?.to_vec();
    *bound.last_mut()? += 1;
    Some(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successor_skips_trailing_ff() {
        assert_eq!(successor(b"a"), Some(b"b".to_vec()));
        assert_eq!(successor(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(successor(&[0xff, 0xff]), None);
        assert_eq!(successor(b""), None);
    }

    #[test]
    fn plan_as_scan_is_the_same_plan() {
        let scan = Scan::prefix("k", b"b").starting_at(b"ba").ending_before(Some(b"bz")).delimited_by(b"/");
        let scan = scan.with_max_items(7).with_max_bytes(99).in_reverse().keys_only();
        let plan = ScanPlan::new(&scan, Some(b"bm"));
        assert_eq!(format!("{:?}", ScanPlan::new(&plan.as_scan(), None)), format!("{plan:?}"));
    }

    #[test]
    fn page_is_resumed_behind_its_last_item_whatever_that_is() {
        let page = |keys: &[&[u8]], prefixes: &[&[u8]]| {
            let mut page = Page::new();
            let record = || Record::new(AbiBytes::copy_from_slice(b""), keyway_abi::Version::numbered(0, 1));
            keys.iter().for_each(|key| page.push(Entry::new(key.to_vec(), record())));
            prefixes.iter().for_each(|prefix| page.push_prefix(prefix.to_vec()));
            page
        };
        let behind = |page: &Page, is_reverse| resume_behind(page, is_reverse).map(|bytes| bytes.to_vec());
        assert_eq!(behind(&page(&[b"a", b"c"], &[b"b/"]), false), Some(b"c\0".to_vec()));
        assert_eq!(behind(&page(&[b"a"], &[b"b/"]), false), Some(b"b0".to_vec()));
        assert_eq!(behind(&page(&[b"a"], &[b"\xff"]), false), None);
        assert_eq!(behind(&page(&[b"c", b"a"], &[b"b/"]), true), Some(b"a".to_vec()));
        assert_eq!(behind(&page(&[], &[]), false), None);
    }

    #[test]
    fn plan_of_prefix_and_range_takes_the_tighter_bounds() {
        let scan = Scan::prefix("k", b"b").starting_at(b"ba").ending_before(Some(b"bz"));
        let plan = ScanPlan::new(&scan, None);
        assert_eq!((plan.lower(), plan.upper()), (&b"ba"[..], Some(&b"bz"[..])));
        let scan = Scan::prefix("k", b"b").starting_at(b"a").ending_before(Some(b"z"));
        let plan = ScanPlan::new(&scan, None);
        assert_eq!((plan.lower(), plan.upper()), (&b"b"[..], Some(&b"c"[..])));
        let scan = Scan::range("k", b"z", Some(b"a"));
        assert!(ScanPlan::new(&scan, None).is_empty());
    }
}
