//! What the threads of an open database share.

use std::{
    collections::HashSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use keyway_sdk::OpenContext;

use crate::{error, files::OpenedFiles, write::Versions};

/// What all threads share.
pub(crate) struct Shared {
    versions: Versions,
    place: OpenedFiles,
    context: OpenContext,
    /// The numbers of keyspaces that a restore is filling.
    staged: Mutex<HashSet<u64>>,
    upkeep: AtomicBool,
    rewind: AtomicBool,
    trouble: Mutex<Option<String>>,
    wal_limit: u64,
}

impl Shared {
    pub(crate) fn new(versions: Versions, place: OpenedFiles, context: OpenContext, wal_limit: u64) -> Self {
        Self {
            versions,
            place,
            context,
            staged: Mutex::default(),
            upkeep: AtomicBool::new(false),
            rewind: AtomicBool::new(false),
            trouble: Mutex::default(),
            wal_limit,
        }
    }

    pub(crate) fn versions(&self) -> &Versions {
        &self.versions
    }

    pub(crate) fn place(&self) -> &OpenedFiles {
        &self.place
    }

    pub(crate) fn context(&self) -> &OpenContext {
        &self.context
    }

    /// How far the WAL may grow for the sake of a long reader, in bytes.
    pub(crate) fn wal_limit(&self) -> u64 {
        self.wal_limit
    }

    pub(crate) fn is_staged(&self, id: u64) -> bool {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// Keeps the records of a restore under way, or gives them up.
    pub(crate) fn keep_staged(&self, id: u64, keep: bool) {
        let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        if keep {
            staged.insert(id)
        } else {
            staged.remove(&id)
        };
    }

    /// There is something to be removed.
    pub(crate) fn want_upkeep(&self) {
        self.upkeep.store(true, Ordering::Release);
    }

    pub(crate) fn take_upkeep(&self) -> bool {
        self.upkeep.swap(false, Ordering::AcqRel)
    }

    /// The WAL is to begin again at the next opportunity.
    pub(crate) fn want_rewind(&self) {
        self.rewind.store(true, Ordering::Release);
    }

    pub(crate) fn take_rewind(&self) -> bool {
        self.rewind.swap(false, Ordering::AcqRel)
    }

    /// A checkpoint failed: nothing is lost, but the WAL grows.
    pub(crate) fn checkpoint_failed(&self, source: &rusqlite::Error) {
        let text = error::failed("checkpoint", source).to_string();
        tracing::warn!(error = text, "the WAL could not be copied into the database, and grows");
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    pub(crate) fn checkpoint_succeeded(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why the last checkpoint failed, if it did.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
