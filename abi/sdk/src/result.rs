//! What an operation of a backend results in.

use keyway_abi::Error;

/// What an operation of a backend results in.
pub type Result<T> = std::result::Result<T, Error>;
