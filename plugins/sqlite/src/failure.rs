//! Why a shared transaction did not commit.

use keyway_sdk::Error;

use crate::error;

/// Why a transaction came to nothing, or perhaps to nothing.
pub(crate) enum Failure {
    /// Before its commit.
    Begin(rusqlite::Error),
    /// In its commit.
    Commit(rusqlite::Error),
    /// It was not tried: the store's file is no longer at its path.
    Moved {
        /// What is there now.
        detail: String,
    },
}

impl Failure {
    /// In the interface's words.
    pub(crate) fn error(&self, doing: &str) -> Error {
        match self {
            Self::Begin(source) => error::failed(doing, source),
            Self::Commit(source) => error::commit_failed(source),
            Self::Moved { detail } => error::moved(detail),
        }
    }

    /// SQLite's error, if there is one.
    pub(crate) fn into_source(self) -> rusqlite::Result<()> {
        match self {
            Self::Begin(source) | Self::Commit(source) => Err(source),
            Self::Moved { .. } => Ok(()),
        }
    }
}
