//! SQLite's codes in the interface's words.
//!
//! Sources: <https://www.sqlite.org/rescode.html> for what the codes mean, <https://www.sqlite.org/wal.html>
//! for why a commit that could not be synced may still be found after a crash.

use keyway_sdk::{Error, ErrorCode};
use rusqlite::ffi;

/// How long a client should wait when SQLite is busy or the queue is full, in milliseconds.
const RETRY_AFTER_MS: u64 = 100;

/// The name of a code of SQLite, and its meaning for a caller.
struct Meaning {
    native: i32,
    name: &'static str,
    code: ErrorCode,
}

macro_rules! meanings {
    ($($native:ident => $code:ident,)*) => {
        &[$(Meaning { native: ffi::$native, name: stringify!($native), code: ErrorCode::$code },)*]
    };
}

/// Extended codes first: a code that is not here means what its low byte, the primary code, means.
const MEANINGS: &[Meaning] = meanings! {
    SQLITE_BUSY_SNAPSHOT => CONFLICT,
    SQLITE_BUSY_RECOVERY => UNAVAILABLE,
    SQLITE_BUSY_TIMEOUT => UNAVAILABLE,
    SQLITE_IOERR_READ => UNAVAILABLE,
    SQLITE_IOERR_SHORT_READ => CORRUPT,
    SQLITE_IOERR_WRITE => UNAVAILABLE,
    SQLITE_IOERR_FSYNC => UNAVAILABLE,
    SQLITE_IOERR_DIR_FSYNC => UNAVAILABLE,
    SQLITE_IOERR_TRUNCATE => UNAVAILABLE,
    SQLITE_IOERR_FSTAT => UNAVAILABLE,
    SQLITE_IOERR_LOCK => UNAVAILABLE,
    SQLITE_IOERR_UNLOCK => UNAVAILABLE,
    SQLITE_IOERR_RDLOCK => UNAVAILABLE,
    SQLITE_IOERR_CHECKRESERVEDLOCK => UNAVAILABLE,
    SQLITE_IOERR_DELETE => UNAVAILABLE,
    SQLITE_IOERR_DELETE_NOENT => UNAVAILABLE,
    SQLITE_IOERR_CLOSE => UNAVAILABLE,
    SQLITE_IOERR_ACCESS => UNAVAILABLE,
    SQLITE_IOERR_NOMEM => RESOURCE_EXHAUSTED,
    SQLITE_IOERR_SHMOPEN => UNAVAILABLE,
    SQLITE_IOERR_SHMSIZE => UNAVAILABLE,
    SQLITE_IOERR_SHMLOCK => UNAVAILABLE,
    SQLITE_IOERR_SHMMAP => UNAVAILABLE,
    SQLITE_IOERR_MMAP => UNAVAILABLE,
    SQLITE_IOERR_CORRUPTFS => CORRUPT,
    SQLITE_IOERR_DATA => CORRUPT,
    SQLITE_READONLY_DBMOVED => UNAVAILABLE,
    SQLITE_READONLY_RECOVERY => PERMISSION_DENIED,
    SQLITE_READONLY_CANTLOCK => PERMISSION_DENIED,
    SQLITE_READONLY_DIRECTORY => PERMISSION_DENIED,
    SQLITE_CANTOPEN_SYMLINK => PERMISSION_DENIED,
    SQLITE_CANTOPEN_ISDIR => INVALID_ARGUMENT,
    SQLITE_CORRUPT_INDEX => CORRUPT,
    SQLITE_BUSY => UNAVAILABLE,
    SQLITE_LOCKED => UNAVAILABLE,
    SQLITE_FULL => RESOURCE_EXHAUSTED,
    SQLITE_NOMEM => RESOURCE_EXHAUSTED,
    SQLITE_IOERR => UNAVAILABLE,
    SQLITE_CANTOPEN => UNAVAILABLE,
    SQLITE_PROTOCOL => UNAVAILABLE,
    SQLITE_CORRUPT => CORRUPT,
    SQLITE_NOTADB => CORRUPT,
    SQLITE_FORMAT => CORRUPT,
    SQLITE_READONLY => PERMISSION_DENIED,
    SQLITE_PERM => PERMISSION_DENIED,
    SQLITE_AUTH => PERMISSION_DENIED,
    SQLITE_TOOBIG => TOO_LARGE,
    SQLITE_INTERRUPT => CANCELLED,
    SQLITE_ABORT => CANCELLED,
    SQLITE_CONSTRAINT => INTERNAL,
    SQLITE_MISUSE => INTERNAL,
    SQLITE_ERROR => INTERNAL,
};

fn meaning(extended: i32) -> Option<&'static Meaning> {
    let of = |native| MEANINGS.iter().find(|meaning| meaning.native == native);
    of(extended).or_else(|| of(extended & 0xff))
}

/// The error of `doing`, which changed nothing: it failed before its commit and was rolled back.
pub(crate) fn failed(doing: &str, source: &rusqlite::Error) -> Error {
    let rusqlite::Error::SqliteFailure(native, _) = source else {
        // A column of another type than the schema allows: the file is not what it should be.
        let code = match source {
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
                ErrorCode::CORRUPT
            }
            _ => ErrorCode::INTERNAL,
        };
        return Error::new(code, format!("{doing}: {source}"));
    };
    let (code, name) = meaning(native.extended_code)
        .map_or((ErrorCode::INTERNAL, ""), |meaning| (meaning.code, meaning.name));
    // The text of an extended code repeats its primary's; the name says what was being done.
    let text = ffi::code_to_str(native.extended_code);
    let error = Error::new(code, format!("{doing}: {text} ({name})"))
        .with_native_code(format!("{name} {}", native.extended_code));
    if matches!(code, ErrorCode::UNAVAILABLE | ErrorCode::RESOURCE_EXHAUSTED) {
        error.with_retry_after_ms(RETRY_AFTER_MS)
    } else {
        error
    }
}

/// The error of a commit. If SQLite could not begin the commit, or had no room to write all of it, none of it
/// survives a crash: a commit counts from its last frame on. Any other failure, above all of the sync, may
/// come after that frame.
pub(crate) fn commit_failed(source: &rusqlite::Error) -> Error {
    let error = failed("commit", source);
    match source.sqlite_error().map(|native| native.extended_code & 0xff) {
        Some(ffi::SQLITE_BUSY | ffi::SQLITE_FULL) => error,
        _ => error.with_unknown_outcome(),
    }
}

/// The backend is shut down, or its thread is gone.
pub(crate) fn closed() -> Error {
    Error::new(ErrorCode::CLOSED, "the database is closed")
}

/// The thread that had the job is gone.
pub(crate) fn lost() -> Error {
    closed().with_unknown_outcome()
}

/// Too much waits.
pub(crate) fn queue_full(calls: usize, bytes: u64) -> Error {
    let message = format!("the queue is full: {calls} calls or {bytes} bytes wait already");
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, message).with_retry_after_ms(RETRY_AFTER_MS)
}

/// Too many reads wait.
pub(crate) fn readers_busy(calls: usize) -> Error {
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, format!("{calls} reads wait already"))
        .with_retry_after_ms(RETRY_AFTER_MS)
}

/// A thread of the database had panicked before it was closed.
pub(crate) fn thread_panicked() -> Error {
    Error::new(ErrorCode::INTERNAL, "a thread of the database had panicked")
}

/// The call's time was over before its turn came.
pub(crate) fn too_late() -> Error {
    Error::new(ErrorCode::TIMEOUT, "the call's time was over before its turn came")
        .with_retry_after_ms(RETRY_AFTER_MS)
}

/// The file under the path is no longer the one that is open.
pub(crate) fn moved(detail: &str) -> Error {
    let message = format!(
        "{detail}; writes are refused, because the next opening would not find them: put the file back, or restart"
    );
    Error::new(ErrorCode::UNAVAILABLE, message)
}

/// The operating system refuses a thread.
pub(crate) fn no_thread(source: &std::io::Error) -> Error {
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, format!("cannot start a thread: {source}"))
}

/// A system call on one of the files failed.
pub(crate) fn file(doing: &str, source: &std::io::Error) -> Error {
    let code = match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorCode::RESOURCE_EXHAUSTED,
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            ErrorCode::PERMISSION_DENIED
        }
        _ => ErrorCode::UNAVAILABLE,
    };
    Error::new(code, format!("{doing}: {source}"))
}

#[cfg(test)]
mod tests {
    use keyway_sdk::Outcome;

    use super::*;

    fn native(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    /// The codes that the interface's users can do something about, one by one and not by the table.
    #[test]
    fn each_code_has_its_meaning_name_and_outcome() {
        for (code, expected, name) in [
            (ffi::SQLITE_BUSY, ErrorCode::UNAVAILABLE, "SQLITE_BUSY 5"),
            (ffi::SQLITE_BUSY_SNAPSHOT, ErrorCode::CONFLICT, "SQLITE_BUSY_SNAPSHOT 517"),
            (ffi::SQLITE_FULL, ErrorCode::RESOURCE_EXHAUSTED, "SQLITE_FULL 13"),
            (ffi::SQLITE_IOERR_READ, ErrorCode::UNAVAILABLE, "SQLITE_IOERR_READ 266"),
            (ffi::SQLITE_IOERR_SHORT_READ, ErrorCode::CORRUPT, "SQLITE_IOERR_SHORT_READ 522"),
            (ffi::SQLITE_IOERR_FSYNC, ErrorCode::UNAVAILABLE, "SQLITE_IOERR_FSYNC 1034"),
            (ffi::SQLITE_CORRUPT, ErrorCode::CORRUPT, "SQLITE_CORRUPT 11"),
            (ffi::SQLITE_NOTADB, ErrorCode::CORRUPT, "SQLITE_NOTADB 26"),
            (ffi::SQLITE_READONLY, ErrorCode::PERMISSION_DENIED, "SQLITE_READONLY 8"),
            (ffi::SQLITE_CANTOPEN, ErrorCode::UNAVAILABLE, "SQLITE_CANTOPEN 14"),
            (ffi::SQLITE_TOOBIG, ErrorCode::TOO_LARGE, "SQLITE_TOOBIG 18"),
            (ffi::SQLITE_INTERRUPT, ErrorCode::CANCELLED, "SQLITE_INTERRUPT 9"),
            (ffi::SQLITE_NOMEM, ErrorCode::RESOURCE_EXHAUSTED, "SQLITE_NOMEM 7"),
        ] {
            let error = failed("put", &native(code));
            assert_eq!((error.code(), error.native_code()), (expected, name));
            assert_eq!(error.outcome(), Outcome::NOT_APPLIED, "{name}");
            assert!(error.message().starts_with("put: "), "{error}");
        }
    }

    #[test]
    fn unnamed_extended_code_means_what_its_primary_does() {
        let error = failed("scan", &native(ffi::SQLITE_IOERR | (99 << 8)));
        assert_eq!(error.code(), ErrorCode::UNAVAILABLE);
        assert_eq!(error.native_code(), format!("SQLITE_IOERR {}", ffi::SQLITE_IOERR | (99 << 8)));
    }

    #[test]
    fn commit_without_room_did_not_happen_and_one_without_a_sync_may_have() {
        let outcome = |code| commit_failed(&native(code)).outcome();
        assert_eq!(outcome(ffi::SQLITE_FULL), Outcome::NOT_APPLIED);
        assert_eq!(outcome(ffi::SQLITE_BUSY), Outcome::NOT_APPLIED);
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_NOMEM, ffi::SQLITE_CORRUPT]
        {
            assert_eq!(outcome(code), Outcome::UNKNOWN, "{code}");
        }
    }

    #[test]
    fn every_primary_code_is_named() {
        for code in 1..=26 {
            // Internal to SQLite, or never returned by it.
            let unused = [ffi::SQLITE_INTERNAL, ffi::SQLITE_NOTFOUND, ffi::SQLITE_EMPTY, ffi::SQLITE_SCHEMA];
            let bound = [ffi::SQLITE_MISMATCH, ffi::SQLITE_NOLFS, ffi::SQLITE_RANGE];
            if !unused.contains(&code) && !bound.contains(&code) {
                assert!(meaning(code).is_some(), "{code} {}", ffi::code_to_str(code));
            }
        }
    }
}
