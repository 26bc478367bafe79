//! The one error of this backend: its memory is full.

use keyway_sdk::{Error, ErrorCode};

/// The write would go beyond the configured size.
pub(crate) fn full(max_bytes: u64) -> Error {
    let message = format!("the store holds its {max_bytes} bytes; delete records or raise max_bytes");
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, message)
}
