//! Pages that are not what was asked for.

use keyway_sdk::{AbiBytes, Entry, Page, Scan, paging::ScanPlan};

use crate::defect::Defect;

/// Another scan than was asked for, with its bytes.
pub(crate) struct Other {
    keyspace: String,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    max_items: u32,
    is_reverse: bool,
    is_keys_only: bool,
}

/// The scan that runs instead; none if the requested one runs.
pub(crate) fn altered(defect: Defect, plan: &ScanPlan<'_>) -> Option<Other> {
    let other = Other {
        keyspace: plan.keyspace().to_owned(),
        lower: plan.lower().to_vec(),
        upper: plan.upper().map(<[u8]>::to_vec),
        max_items: u32::try_from(plan.max_items()).unwrap_or(u32::MAX),
        is_reverse: plan.is_reverse(),
        is_keys_only: plan.is_keys_only(),
    };
    match defect {
        Defect::RangeIncludesEnd => {
            let upper = other.upper.clone().map(|mut upper| {
                upper.push(0);
                upper
            });
            Some(Other { upper, ..other })
        }
        Defect::IgnoresReverse if other.is_reverse => Some(Other { is_reverse: false, ..other }),
        Defect::KeysOnlyBringsValues if other.is_keys_only => Some(Other { is_keys_only: false, ..other }),
        _ => None,
    }
}

impl Other {
    pub(crate) fn scan(&self) -> Scan<'_> {
        let scan =
            Scan::range(&self.keyspace, &self.lower, self.upper.as_deref()).with_max_items(self.max_items);
        let scan = if self.is_reverse { scan.in_reverse() } else { scan };
        if self.is_keys_only { scan.keys_only() } else { scan }
    }
}

/// How a defect changes a page.
pub(crate) struct Shape {
    defect: Defect,
    is_reverse: bool,
    skips: bool,
}

impl Shape {
    pub(crate) fn of(defect: Defect, plan: &ScanPlan<'_>, skips: bool) -> Self {
        Self { defect, is_reverse: plan.is_reverse(), skips }
    }

    pub(crate) fn apply(&self, mut page: Page) -> Page {
        match self.defect {
            Defect::CursorSkips => {
                let beyond = page.cursor().map(|cursor| self.moved(cursor, false));
                page.set_cursor(beyond);
                page
            }
            Defect::CursorRepeats => {
                let last = page.entries().last().map(|entry| entry.key().to_vec());
                let has_more = page.cursor().is_some() && page.len() > 1;
                if let Some(last) = last.filter(|_| has_more) {
                    page.set_cursor(Some(self.moved(&last, true)));
                }
                page
            }
            Defect::ScanEndsWithItsPage => {
                page.set_cursor(None);
                page
            }
            Defect::OrdersBytesAsSigned => rebuilt(page, |entries| {
                entries.sort_by_key(|entry| {
                    entry.key().iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>()
                });
            }),
            Defect::ForgetsCommonPrefixes if !page.entries().is_empty() => {
                let cursor = page.cursor().map(AbiBytes::copy_from_slice);
                let mut left = Page::new();
                page.into_entries().for_each(|entry| left.push(entry));
                left.set_cursor(cursor);
                left
            }
            Defect::ScanSkipsUnderChurn if self.skips => rebuilt(page, |entries| {
                entries.pop();
            }),
            _ => page,
        }
    }

    /// A position just after a key, or at it: cursors are bounds of the walk, exclusive in reverse.
    fn moved(&self, key: &[u8], keeps: bool) -> AbiBytes {
        let mut bytes = key.to_vec();
        match (self.is_reverse, keeps) {
            (false, false) | (true, true) => bytes.push(0),
            (true, false) => {
                bytes.pop();
            }
            (false, true) => {}
        }
        bytes.into()
    }
}

fn rebuilt(page: Page, change: impl FnOnce(&mut Vec<Entry>)) -> Page {
    let cursor = page.cursor().map(AbiBytes::copy_from_slice);
    let prefixes: Vec<AbiBytes> =
        page.prefixes().iter().map(|prefix| AbiBytes::copy_from_slice(prefix)).collect();
    let mut entries: Vec<Entry> = page.into_entries().collect();
    change(&mut entries);
    let mut page = Page::new();
    entries.into_iter().for_each(|entry| page.push(entry));
    prefixes.into_iter().for_each(|prefix| page.push_prefix(prefix));
    page.set_cursor(cursor);
    page
}
