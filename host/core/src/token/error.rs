//! Why a token could not be looked up or changed.

use keyway_crypto::key::RandomError;
use keyway_storage::StorageError;
use thiserror::Error;

use crate::{barrier::BarrierError, system::SystemError};

/// Why a token could not be looked up or changed.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Its record.
    #[error("a token's record: {0}")]
    System(#[from] SystemError),
    /// The keys.
    #[error("a token's record: {0}")]
    Barrier(#[from] BarrierError),
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// It is not as it has to be for this.
    #[error("{0}")]
    Refused(String),
}
