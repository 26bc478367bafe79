//! SQLite's codes in the interface's words.

use keyway_sdk::{Error, ErrorCode};
use rusqlite::{ErrorCode as SqliteCode, ffi};

/// How long a client should wait when SQLite is busy or the queue is full, in milliseconds.
const RETRY_AFTER_MS: u64 = 100;

/// The error of `doing`, which changed nothing: it failed before its commit and was rolled back.
pub(crate) fn failed(doing: &str, source: &rusqlite::Error) -> Error {
    let rusqlite::Error::SqliteFailure(native, _) = source else {
        return Error::new(ErrorCode::INTERNAL, format!("{doing}: {source}"));
    };
    let code = match native.code {
        _ if native.extended_code == ffi::SQLITE_BUSY_SNAPSHOT => ErrorCode::CONFLICT,
        SqliteCode::DatabaseBusy | SqliteCode::DatabaseLocked => ErrorCode::UNAVAILABLE,
        SqliteCode::DiskFull | SqliteCode::OutOfMemory => ErrorCode::RESOURCE_EXHAUSTED,
        SqliteCode::SystemIoFailure | SqliteCode::CannotOpen => ErrorCode::UNAVAILABLE,
        SqliteCode::DatabaseCorrupt | SqliteCode::NotADatabase => ErrorCode::CORRUPT,
        SqliteCode::ReadOnly | SqliteCode::PermissionDenied | SqliteCode::AuthorizationForStatementDenied => {
            ErrorCode::PERMISSION_DENIED
        }
        SqliteCode::TooBig => ErrorCode::TOO_LARGE,
        SqliteCode::OperationInterrupted => ErrorCode::CANCELLED,
        _ => ErrorCode::INTERNAL,
    };
    let text = ffi::code_to_str(native.extended_code);
    let error = Error::new(code, format!("{doing}: {text}"))
        .with_native_code(format!("SQLITE {}", native.extended_code));
    if code == ErrorCode::UNAVAILABLE { error.with_retry_after_ms(RETRY_AFTER_MS) } else { error }
}

/// The error of a commit. Busy means that it did not happen; after anything else it may have.
pub(crate) fn commit_failed(source: &rusqlite::Error) -> Error {
    let error = failed("commit", source);
    if source.sqlite_error_code() == Some(SqliteCode::DatabaseBusy) {
        error
    } else {
        error.with_unknown_outcome()
    }
}

/// The backend is shut down, or its thread is gone.
pub(crate) fn closed() -> Error {
    Error::new(ErrorCode::CLOSED, "the database is closed")
}

/// Too many calls wait.
pub(crate) fn queue_full(limit: usize) -> Error {
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, format!("{limit} calls wait already"))
        .with_retry_after_ms(RETRY_AFTER_MS)
}
