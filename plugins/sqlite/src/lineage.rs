//! Marks that say which state of the store a WAL continues.
//!
//! SQLite does not bind a WAL to its database: it copies the pages of any WAL that it finds next to a database
//! into it. So a commit that may be the first of a WAL writes a new random mark and the one before it into
//! `meta`; other commits do so now and then. [`pairing`](crate::pairing) reads the marks from both files
//! before SQLite does.
//!
//! Other processes may read, write or checkpoint the files; one rule still holds. The database holds the mark
//! that it had when the WAL began, or one that the WAL holds too. The reason: a page reaches the database by
//! way of the WAL alone.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::Connection;

use crate::{failure::Failure, sql};

/// A commit writes a mark if the last one is as old as this. The mark distinguishes a copy of the database
/// from later states. Each mark costs a page, so not every commit writes one.
const OFTEN: Duration = Duration::from_millis(100);
/// The bits of a mark that are random; the others are made of them, so that half of a mark is not taken for one.
const RANDOM: u32 = 40;

/// A new mark.
pub(crate) fn fresh() -> Result<u64, getrandom::Error> {
    Ok(sealed(getrandom::u64()?))
}

fn sealed(random: u64) -> u64 {
    let random = random & ((1 << RANDOM) - 1);
    // The finalizer of SplitMix64: each bit depends on all others.
    let mut mixed = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    random | (mixed ^ (mixed >> 31)) << RANDOM
}

/// Whether this is a whole mark.
pub(crate) fn is_whole(mark: u64) -> bool {
    mark == sealed(mark)
}

/// When the next mark is due.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    /// Checkpoints of this process.
    begun: AtomicU64,
    ended: AtomicU64,
    last: Mutex<Option<Last>>,
}

/// The last mark that was committed.
#[derive(Debug, Clone, Copy)]
struct Last {
    at: Instant,
    /// The number of checkpoints before it; none if one was under way.
    checkpoints: Option<u64>,
}

impl Lineage {
    /// Runs a checkpoint: a WAL that it has copied to its end begins again with the next commit.
    pub(crate) fn checkpoint<T>(&self, checkpoint: impl FnOnce() -> T) -> T {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let done = checkpoint();
        self.ended.fetch_add(1, Ordering::SeqCst);
        done
    }

    /// Commits the transaction under way, with a mark if one is due.
    pub(crate) fn commit(&self, connection: &Connection) -> Result<(), Failure> {
        // A checkpoint that this transaction's snapshot knows of has begun before; one that ends later does
        // not have the WAL begin again with it.
        let begun = self.begun.load(Ordering::SeqCst);
        let ended = self.ended.load(Ordering::SeqCst);
        let marked = self
            .is_due(begun)
            .then(|| Last { at: Instant::now(), checkpoints: (begun == ended).then_some(begun) });
        if marked.is_some() {
            match fresh() {
                Ok(mark) => sql::set_mark(connection, mark).map_err(Failure::Begin)?,
                // The commit goes on without a mark: files without marks are not refused.
                Err(error) => {
                    tracing::warn!(%error, "there are no random bytes to mark the state of the store with")
                }
            }
        }
        sql::commit(connection).map_err(Failure::Commit)?;
        if let Some(marked) = marked {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(marked);
        }
        Ok(())
    }

    fn is_due(&self, begun: u64) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| last.checkpoints != Some(begun) || last.at.elapsed() >= OFTEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_is_due_at_first_after_a_checkpoint_and_during_one() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID")
            .unwrap();
        let lineage = Lineage::default();
        let commit = || {
            sql::begin_write(&connection).unwrap();
            lineage.commit(&connection).map_err(|failure| failure.error("commit")).unwrap();
            sql::marks(&connection).unwrap()
        };
        let first = commit();
        assert!(is_whole(first.0) && first.1 == 0, "{first:?}");
        assert_eq!(commit(), first, "an unmarked commit");
        let during = lineage.checkpoint(commit);
        assert_eq!(during.1, first.0);
        let after = commit();
        assert_eq!(after.1, during.0);
        assert_eq!(commit(), after);
        lineage.checkpoint(|| ());
        assert_eq!(commit().1, after.0);
    }

    #[test]
    fn parts_of_two_marks_are_no_mark() {
        for turn in 0..1_000_u64 {
            let (one, other) = (sealed(turn.wrapping_mul(0x2545_f491_4f6c_dd1d)), sealed(!turn));
            assert!(is_whole(one) && is_whole(other));
            for bytes in 1..8 {
                let mask = (1_u64 << (8 * bytes)) - 1;
                let torn = (one & mask) | (other & !mask);
                assert!(torn == one || torn == other || !is_whole(torn), "{one:x} {other:x}");
            }
        }
    }
}
