//! Removes records that have expired or belong to no keyspace, in small steps between other writes.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::{
    failure::Failure,
    shared::Shared,
    sql::{self, Format, Step},
};

/// What one step removes of either kind.
const STEP: Step = Step { records: 256, bytes: 4 * 1024 * 1024 };
/// How long nothing is looked for after nothing was found.
const PAUSE: Duration = Duration::from_secs(10);
/// The pause after a step is this many times as long as the step, so that writers have most of the time.
const PAUSE_PER_STEP: u32 = 4;

/// When the next step is due.
pub(crate) struct Schedule {
    due: Instant,
}

impl Schedule {
    /// At once: a restore may have been cut short.
    pub(crate) fn new() -> Self {
        Self { due: Instant::now() }
    }

    /// The time of the next step.
    pub(crate) fn due(&mut self, shared: &Shared) -> Instant {
        if shared.take_upkeep() {
            self.due = Instant::now();
        }
        self.due
    }

    /// Answers whether something was removed.
    pub(crate) fn run_if_due(&mut self, connection: &Connection, shared: &Shared) -> bool {
        let begun = Instant::now();
        if begun < self.due(shared) {
            return false;
        }
        let removed = match step(connection, shared) {
            Ok(removed) => removed,
            Err(source) => {
                tracing::warn!(%source, "expired and abandoned records could not be removed; they are absent all the same");
                0
            }
        };
        let pause = if removed > 0 { begun.elapsed() * PAUSE_PER_STEP } else { PAUSE };
        self.due = Instant::now() + pause;
        removed > 0
    }
}

fn step(connection: &Connection, shared: &Shared) -> rusqlite::Result<usize> {
    let at = shared.versions().at();
    if at.format() == Format::One || shared.place().moved().is_some() {
        return Ok(0);
    }
    sql::begin_write(connection)?;
    // Both each time, so that neither waits for the other to come to an end.
    let removed = sql::remove_expired(connection, at, STEP).and_then(|expired| {
        sql::remove_orphans(connection, |id| shared.is_staged(id), STEP).map(|orphans| expired + orphans)
    });
    let ended = match &removed {
        Ok(1..) => shared.versions().lineage().commit(connection).or_else(Failure::into_source),
        _ => sql::rollback(connection),
    };
    if ended.is_err() {
        sql::rollback(connection)?;
    }
    ended.and(removed)
}
