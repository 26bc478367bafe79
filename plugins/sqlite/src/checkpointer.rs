//! Copies the WAL into the database on a separate thread, so that neither writers nor readers wait for it.
//!
//! What comes while it copies stays for the next time, so that under a load that never ends the WAL would never be
//! empty, and grow. Past [`REWIND_PAGES`] the writer is asked to copy that little rest itself, between two
//! transactions; then the WAL begins again.

use crossbeam_channel::Receiver;
use rusqlite::Connection;

use crate::{shared::Shared, sql};

/// Pages in the WAL, of 4 KiB each, from which on it should begin again.
const REWIND_PAGES: u64 = 2_048;

/// Runs until the last sender is dropped.
pub(crate) fn run(connection: &Connection, shared: &Shared, calls: &Receiver<()>) {
    for () in calls {
        if shared.place().moved().is_some() {
            continue;
        }
        match shared.versions().lineage().checkpoint(|| sql::checkpoint(connection)) {
            Ok(pages) => {
                shared.checkpoint_succeeded();
                shared.context().gauge("wal_pages", pages as f64);
                if pages > REWIND_PAGES {
                    shared.want_rewind();
                }
            }
            Err(source) => shared.checkpoint_failed(&source),
        }
    }
}
