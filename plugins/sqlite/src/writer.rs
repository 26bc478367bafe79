//! The writer's thread: one transaction, and so one sync, for all calls that wait.
//!
//! While a group is being synced, the next one gathers. Callers often come back after their answer. So a
//! group that follows one of several calls waits for about as many calls, for a part of the time that the
//! last commit took. A single caller never waits.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rusqlite::Connection;

use crate::{
    failure::Failure,
    queue::{Alone, Call, Job, Waiting},
    shared::Shared,
    sql, upkeep,
    write::Writing,
};

/// Most operations of a group.
const GROUP_OPS: usize = 1_000;
/// Most bytes of a group; a call that is larger has one for itself.
const GROUP_BYTES: u64 = 16 * 1024 * 1024;
/// The longest time that a group waits for calls that may come back.
const WINDOW: Duration = Duration::from_millis(1);
/// The cost of a record in the WAL besides its bytes: the pages that it shares with other records.
const WAL_BYTES_PER_OP: u64 = 4 * 1024;
/// How much is written between two checkpoints.
const CHECKPOINT_BYTES: u64 = 4 * 1024 * 1024;

/// What the thread works with.
pub(crate) struct Writer<'a> {
    connection: Connection,
    shared: &'a Shared,
    jobs: Receiver<Waiting>,
    checkpoints: Sender<()>,
    last: Last,
    written: u64,
    /// The size of the WAL's file when a checkpoint was asked for.
    wal: u64,
    upkeep: upkeep::Schedule,
}

/// How the last group went.
#[derive(Default)]
struct Last {
    calls: usize,
    took: Duration,
}

#[derive(Default)]
struct Group {
    calls: Vec<Box<dyn Call>>,
    ops: usize,
    bytes: u64,
    /// The job that came next and needs the connection alone.
    alone: Option<Alone>,
}

impl Group {
    fn take(&mut self, waiting: Waiting) {
        match waiting.into_job() {
            Job::Alone(job) => self.alone = Some(job),
            Job::Shared(mut call) => {
                if call.is_wanted() {
                    let size = call.size();
                    self.ops += size.ops;
                    self.bytes += size.bytes;
                    self.calls.push(call);
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.alone.is_some() || self.ops >= GROUP_OPS || self.bytes >= GROUP_BYTES
    }
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        connection: Connection,
        shared: &'a Shared,
        jobs: Receiver<Waiting>,
        checkpoints: Sender<()>,
    ) -> Self {
        let upkeep = upkeep::Schedule::new();
        Self { connection, shared, jobs, checkpoints, last: Last::default(), written: 0, wal: 0, upkeep }
    }

    /// Runs until all senders are dropped and all jobs are done.
    pub(crate) fn run(mut self) {
        loop {
            match self.jobs.recv_deadline(self.upkeep.due(self.shared)) {
                Ok(first) => {
                    let group = self.gather(first);
                    self.serve(group);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.shared.take_rewind() {
                self.rewind();
            }
            if self.upkeep.run_if_due(&self.connection, self.shared) {
                // Removals overwrite pages, and all of that goes through the WAL.
                self.note_written(CHECKPOINT_BYTES);
            }
        }
    }

    fn gather(&self, first: Waiting) -> Group {
        let mut group = Group::default();
        group.take(first);
        let window = WINDOW.min(self.last.took / 2);
        let mut until = None;
        while !group.is_full() {
            if let Ok(waiting) = self.jobs.try_recv() {
                group.take(waiting);
                continue;
            }
            if self.last.calls < 2 || group.calls.len() >= self.last.calls {
                break;
            }
            let until = *until.get_or_insert_with(|| Instant::now() + window);
            match self.jobs.recv_deadline(until) {
                Ok(waiting) => group.take(waiting),
                Err(_) => break,
            }
        }
        group
    }

    fn serve(&mut self, group: Group) {
        let Group { mut calls, ops, bytes, alone } = group;
        if !calls.is_empty() {
            let begun = Instant::now();
            let count = calls.len();
            match self.attempt(&mut calls) {
                Attempt::Ended(failure) => answer(calls, failure.as_ref()),
                // Each call runs again alone, so that the one that fails does not make the others fail.
                Attempt::Broken => {
                    for call in calls {
                        self.serve_one(call);
                    }
                }
            }
            self.last = Last { calls: count, took: begun.elapsed() };
            self.note_written(ops as u64 * WAL_BYTES_PER_OP + bytes);
        }
        if let Some(job) = alone {
            job(&mut self.connection);
            self.roll_back();
            // It may have written any amount; a checkpoint now covers it.
            self.note_written(CHECKPOINT_BYTES);
        }
    }

    fn serve_one(&mut self, call: Box<dyn Call>) {
        let mut calls = vec![call];
        match self.attempt(&mut calls) {
            Attempt::Ended(failure) => answer(calls, failure.as_ref()),
            // It has its own error.
            Attempt::Broken => answer(calls, None),
        }
    }

    /// One transaction. If it is broken by one of several calls, none of them has been done.
    fn attempt(&mut self, calls: &mut [Box<dyn Call>]) -> Attempt {
        if let Some(detail) = self.shared.place().moved() {
            return Attempt::Ended(Some(Failure::Moved { detail }));
        }
        let attempt = self.transact(calls);
        if !matches!(attempt, Attempt::Ended(None)) {
            self.roll_back();
        }
        attempt
    }

    fn transact(&self, calls: &mut [Box<dyn Call>]) -> Attempt {
        let connection = &self.connection;
        if let Err(source) = sql::begin_write(connection) {
            return Attempt::Ended(Some(Failure::Begin(source)));
        }
        let mut writing = Writing::begin(connection, self.shared.versions(), "write");
        for call in calls {
            call.run(&mut writing);
            if writing.is_broken() {
                return Attempt::Broken;
            }
        }
        self.shared.context().count("commits_total", 1.0);
        Attempt::Ended(writing.commit().err())
    }

    fn roll_back(&self) {
        // A failed rollback leaves the transaction open: the next begin fails, and the rollback is tried again.
        if let Err(source) = sql::rollback(&self.connection) {
            tracing::error!(%source, "rollback failed");
        }
    }

    fn note_written(&mut self, bytes: u64) {
        self.written += bytes;
        // A removed or overwritten record counts by its old size, which only the file tells. The file does
        // not shrink; if SQLite reuses it, the counted bytes tell how much was written.
        let wal = self.shared.place().wal_bytes();
        self.wal = self.wal.min(wal);
        if self.written >= CHECKPOINT_BYTES || wal >= self.wal + CHECKPOINT_BYTES {
            self.written = 0;
            self.wal = wal;
            // One that is asked for already will do.
            let _asked = self.checkpoints.try_send(());
        }
    }

    /// Rewinds the WAL. The checkpointer has copied most of it; only a little is left, and no write comes
    /// meanwhile.
    fn rewind(&self) {
        let lineage = self.shared.versions().lineage();
        if let Err(source) = lineage.checkpoint(|| sql::checkpoint_and_rewind(&self.connection)) {
            self.shared.checkpoint_failed(&source);
        }
    }
}

enum Attempt {
    Ended(Option<Failure>),
    /// A call met an error of SQLite.
    Broken,
}

fn answer(calls: Vec<Box<dyn Call>>, failure: Option<&Failure>) {
    for call in calls {
        call.answer(failure);
    }
}
