//! Scans: their plan, and the cursors of their pages.

use std::sync::Arc;

use keyway_abi::{Page, Scan};

use crate::{cursor::CursorKey, paging::ScanPlan};

/// A scan on its way: the plan for the author, and what seals the cursor of the page that comes back.
pub(super) struct Scanning;

impl Scanning {
    pub(super) fn begin<'a>(
        scan: &Scan<'a>,
        cursors: &Arc<CursorKey>,
    ) -> crate::Result<(ScanPlan<'a>, impl FnOnce(Page) -> Page + Send + 'static + use<>)> {
        let position = cursors.open(scan)?;
        let plan = ScanPlan::new(scan, position);
        let bound = cursors.bind(scan);
        let seal = move |mut page: Page| {
            let sealed = page.cursor().map(|position| bound.seal(position));
            page.set_cursor(sealed);
            page
        };
        Ok((plan, seal))
    }
}
