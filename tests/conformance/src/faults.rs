//! Faults that a case can inject into the store beneath a backend, if the subject offers them.

use std::{fmt, path::Path};

use crate::verdict::Stop;

/// A trouble of a store, until it is healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Every call fails, as if the store was stopped or unplugged.
    Gone,
    /// There is no more room.
    Full,
    /// Nothing can be written.
    ReadOnly,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "is gone",
            Self::Full => "is full",
            Self::ReadOnly => "can only be read",
        })
    }
}

/// Gets at the store beneath a backend: a file system that can fail, a database server that can be stopped.
///
/// The backend is the one that ships and knows nothing of it. What an implementation does not offer is
/// unproved, and its report says so.
pub trait Faults: Send + Sync {
    /// The power goes at the write, sync or truncation of that number from now on, counted from one; zero is
    /// now. Nothing comes back from the store after that.
    ///
    /// # Errors
    ///
    /// Why that cannot be had.
    fn lose_power_at(&self, call: u64) -> Result<(), Unoffered>;

    /// Whether the power has gone.
    fn is_dark(&self) -> bool;

    /// Once the backend is closed: of what was not synced, some is lost, by a seed. Then the power is back.
    ///
    /// # Errors
    ///
    /// Why that cannot be had.
    fn settle(&self, seed: u64) -> Result<(), Unoffered>;

    /// The store is in trouble from now on, or well again.
    ///
    /// # Errors
    ///
    /// Why that cannot be had.
    fn trouble(&self, trouble: Option<Trouble>) -> Result<(), Unoffered>;
}

/// Why a fault cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unoffered(pub String);

impl From<Unoffered> for Stop {
    fn from(unoffered: Unoffered) -> Self {
        Self::Unproved(unoffered.0)
    }
}

/// Makes the faults of the store that will lie in a data directory. Called before it is opened.
pub type FaultsIn = fn(&Path) -> Result<Box<dyn Faults>, Unoffered>;
