//! Pages of the backend within.

use keyway_sdk::{Page, paging::resume_behind};

/// A page of the backend within, resumed by the key and not by its cursor, which is another's.
pub(crate) fn handed_on(mut page: Page, is_reverse: bool) -> Page {
    if page.cursor().is_some() {
        let behind = resume_behind(&page, is_reverse);
        page.set_cursor(behind);
    }
    page
}
