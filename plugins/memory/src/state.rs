//! The state of the store, which transactions and restores share with it.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use keyway_sdk::{Result, Version};

use crate::{client::Map, error};

/// What transactions and restores share with the store.
#[derive(Debug)]
pub(crate) struct Shared {
    state: RwLock<State>,
    /// Random for each opening, because a close loses all records.
    incarnation: u64,
    max_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) map: Map,
    last_version: u64,
}

impl Shared {
    /// An empty store.
    pub(crate) fn new(incarnation: u64, max_bytes: u64) -> Self {
        Self { state: RwLock::default(), incarnation, max_bytes }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of the next write. The caller holds the lock that `state` came from.
    pub(crate) fn next_version(&self, state: &mut State) -> Version {
        state.last_version += 1;
        Version::numbered(self.incarnation, state.last_version)
    }

    /// Refuses to grow beyond the configured size.
    pub(crate) fn check_room(&self, state: &State, growth: i64) -> Result<()> {
        if growth > 0 && state.map.bytes().saturating_add_signed(growth) > self.max_bytes {
            return Err(error::full(self.max_bytes));
        }
        Ok(())
    }

    /// Refuses to be larger than the configured size.
    pub(crate) fn check_size(&self, state: &State) -> Result<()> {
        if state.map.bytes() > self.max_bytes { Err(error::full(self.max_bytes)) } else { Ok(()) }
    }
}
