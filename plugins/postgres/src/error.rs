//! PostgreSQL's codes in the interface's words, and what they say of the outcome.
//!
//! Sources: <https://www.postgresql.org/docs/current/errcodes-appendix.html> for the meaning of the codes,
//! and <https://www.postgresql.org/docs/current/protocol-flow.html> for the effect of an error on a
//! transaction.
//!
//! An error of severity ERROR aborts the transaction, so that nothing was changed. FATAL and PANIC end the
//! session, perhaps after a commit, for example if the wait for a synchronous standby is cut short. Then the
//! outcome is unknown, as it is if the connection is lost. It is also unknown if the code says so: `40003`,
//! and class `08`, which proxies and extensions send.

use keyway_sdk::{Error, ErrorCode};
use tokio_postgres::error::{DbError, Severity};

/// How long a client should wait if the server is busy or away, in milliseconds.
const RETRY_AFTER_MS: u64 = 250;

/// Whether what failed might have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing is changed before a commit that is yet to come, or at all.
    None,
    /// The statement commits.
    Commits,
}

/// The meaning of single codes that differ from their class.
const CODES: &[(&str, ErrorCode)] = &[
    // The session is on a standby, or the role may only read: another server may take it.
    ("25006", ErrorCode::UNAVAILABLE),
    ("25P03", ErrorCode::RESOURCE_EXHAUSTED),
    ("40001", ErrorCode::CONFLICT),
    ("40P01", ErrorCode::CONFLICT),
    ("42501", ErrorCode::PERMISSION_DENIED),
    ("55006", ErrorCode::UNAVAILABLE),
    ("55P03", ErrorCode::TIMEOUT),
    ("57014", ErrorCode::TIMEOUT),
    ("58P01", ErrorCode::CORRUPT),
    ("58P02", ErrorCode::CORRUPT),
    ("72000", ErrorCode::RESOURCE_EXHAUSTED),
    ("XX001", ErrorCode::CORRUPT),
    ("XX002", ErrorCode::CORRUPT),
];

/// What classes of codes mean: their first two characters.
const CLASSES: &[(&str, ErrorCode)] = &[
    // Connection exceptions.
    ("08", ErrorCode::UNAVAILABLE),
    // A plan or a prepared statement that is no longer valid: the next connection has another.
    ("0A", ErrorCode::UNAVAILABLE),
    ("26", ErrorCode::UNAVAILABLE),
    // Data exceptions.
    ("22", ErrorCode::INVALID_ARGUMENT),
    // Integrity: two made the same thing at the same time.
    ("23", ErrorCode::CONFLICT),
    // Transaction states, rollbacks.
    ("25", ErrorCode::INTERNAL),
    ("40", ErrorCode::CONFLICT),
    // Authorization; no such database, no such schema.
    ("28", ErrorCode::PERMISSION_DENIED),
    ("3D", ErrorCode::UNAVAILABLE),
    ("3F", ErrorCode::UNAVAILABLE),
    // A table or function is missing: an operator changes the schema, or has dropped it.
    ("42", ErrorCode::UNAVAILABLE),
    // Disk full, out of memory, too many connections.
    ("53", ErrorCode::RESOURCE_EXHAUSTED),
    ("54", ErrorCode::TOO_LARGE),
    ("55", ErrorCode::UNAVAILABLE),
    // Shut down, starting up, cancelled by an operator.
    ("57", ErrorCode::UNAVAILABLE),
    // Errors of the system beneath the server; of its configuration.
    ("58", ErrorCode::UNAVAILABLE),
    ("F0", ErrorCode::UNAVAILABLE),
    ("XX", ErrorCode::INTERNAL),
];

fn meaning(state: &str) -> ErrorCode {
    let exact = CODES.iter().find(|(code, _)| *code == state);
    let class = || CLASSES.iter().find(|(class, _)| state.starts_with(class));
    exact.or_else(class).map_or(ErrorCode::INTERNAL, |(_, code)| *code)
}

/// Whether the server's word proves that nothing was changed.
fn is_proof(state: &str, severity: Option<Severity>) -> bool {
    severity == Some(Severity::Error) && state != "40003" && !state.starts_with("08")
}

/// Whether it can be tried again soon.
fn is_transient(code: ErrorCode) -> bool {
    [ErrorCode::UNAVAILABLE, ErrorCode::RESOURCE_EXHAUSTED, ErrorCode::CONFLICT, ErrorCode::TIMEOUT]
        .contains(&code)
}

/// What the client library's `source` means.
pub(crate) fn failed(doing: &str, effect: Effect, source: &tokio_postgres::Error) -> Error {
    let (error, is_proof) = match source.as_db_error() {
        Some(said) => (by_server(doing, said), is_proof(said.code().code(), said.parsed_severity())),
        None => (by_client(doing, source), false),
    };
    match effect {
        Effect::Commits if !is_proof => error.with_unknown_outcome(),
        _ => error,
    }
}

/// Primary messages only: details and hints may hold values.
fn by_server(doing: &str, said: &DbError) -> Error {
    let state = said.code().code();
    let code = meaning(state);
    let error = Error::new(code, format!("{doing}: {}", said.message()))
        .with_native_code(format!("SQLSTATE {state}"));
    if is_transient(code) { error.with_retry_after_ms(RETRY_AFTER_MS) } else { error }
}

fn by_client(doing: &str, source: &tokio_postgres::Error) -> Error {
    let message = if source.is_closed() {
        format!("{doing}: the connection was lost")
    } else {
        format!("{doing}: {}", chain(source))
    };
    Error::new(ErrorCode::UNAVAILABLE, message).with_retry_after_ms(RETRY_AFTER_MS)
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let further = error.to_string();
        if !text.contains(&further) {
            text.push_str(": ");
            text.push_str(&further);
        }
        cause = error.source();
    }
    text
}

/// Whether a connection that had this error is of no more use.
pub(crate) fn is_fatal(source: &tokio_postgres::Error) -> bool {
    source.as_db_error().is_none_or(|said| {
        // A statement that is unknown or outdated will be so again; a server that can only be read is no
        // longer the one to ask.
        let state = said.code().code();
        said.parsed_severity() != Some(Severity::Error)
            || state.starts_with("0A")
            || state.starts_with("26")
            || state == "25006"
    })
}

/// Whether there was no room on the server's disk.
pub(crate) fn is_disk_full(source: &tokio_postgres::Error) -> bool {
    source.code().is_some_and(|state| state.code() == "53100")
}

/// No connection could be made.
pub(crate) fn unreachable(source: &tokio_postgres::Error) -> Error {
    match source.as_db_error() {
        Some(said) => by_server("connect", said),
        None => Error::new(ErrorCode::UNAVAILABLE, format!("connect: {}", chain(source)))
            .with_retry_after_ms(RETRY_AFTER_MS),
    }
}

/// Whether the server knows the login no longer, or not yet. Some poolers say so with the code of a broken
/// protocol.
pub(crate) fn is_refused_login(source: &tokio_postgres::Error) -> bool {
    source.code().is_some_and(|state| ["28P01", "28000", "08P01"].contains(&state.code()))
}

/// No connection could be made, and the settings have no other login to try.
pub(crate) fn not_renewed(refused: &tokio_postgres::Error, why: &Error) -> Error {
    let error = unreachable(refused);
    let message =
        format!("{}; the login was read again, and cannot be used: {}", error.message(), why.message());
    Error::new(error.code(), message)
        .with_native_code(error.native_code())
        .with_retry_after_ms(RETRY_AFTER_MS)
}

/// A pooler is between, and gives one session to several connections.
pub(crate) fn shared_sessions() -> Error {
    settings(
        "a pooler between Keyway and the database hands out sessions by transaction, as PgBouncer does with pool_mode = \
         transaction; Keyway needs a session for each connection: let the URL name the database server itself, or set \
         pool_mode = session in the pooler for this database or user",
    )
}

/// The server is a standby.
pub(crate) fn standby() -> Error {
    let message = "connect: the server is a standby, which may lag behind: name the one that takes writes, or all of them";
    Error::new(ErrorCode::UNAVAILABLE, message).with_retry_after_ms(RETRY_AFTER_MS)
}

/// No connection was made in time.
pub(crate) fn connect_timeout() -> Error {
    let message = "connect: the server did not answer in time";
    Error::new(ErrorCode::UNAVAILABLE, message).with_retry_after_ms(RETRY_AFTER_MS)
}

/// The last attempt failed a moment ago, for this reason.
pub(crate) fn not_yet(last: &Error, retry_after_ms: u64) -> Error {
    last.clone().with_retry_after_ms(retry_after_ms)
}

/// The answer did not come in time.
pub(crate) fn too_late(doing: &str, effect: Effect) -> Error {
    let error = Error::new(ErrorCode::TIMEOUT, format!("{doing}: the server did not answer in time"))
        .with_retry_after_ms(RETRY_AFTER_MS);
    match effect {
        Effect::None => error,
        Effect::Commits => error.with_unknown_outcome(),
    }
}

/// Every connection stayed in use for as long as the call could wait.
pub(crate) fn no_connection_free(most: usize) -> Error {
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, format!("all {most} connections are in use"))
        .with_retry_after_ms(RETRY_AFTER_MS)
}

/// The call's time was over before its turn came.
pub(crate) fn no_turn(at_a_time: usize) -> Error {
    let message = format!("{at_a_time} statements are under way, and this one's turn did not come in time");
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, message).with_retry_after_ms(RETRY_AFTER_MS)
}

/// As many transactions, backups and restores are open as may be.
pub(crate) fn too_many_streams(most: usize) -> Error {
    let message = format!("{most} transactions and backups are open, and that is the limit");
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, message).with_retry_after_ms(RETRY_AFTER_MS)
}

/// The backend was shut down.
pub(crate) fn closed() -> Error {
    Error::new(ErrorCode::CLOSED, "the backend is closed")
}

/// The settings do not say where the server is.
pub(crate) fn settings(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::INVALID_ARGUMENT, message)
}

/// A transaction that was rolled back: a statement of it failed, or it was open for too long.
pub(crate) fn rolled_back(why: &'static str) -> Error {
    Error::new(ErrorCode::RESOURCE_EXHAUSTED, format!("the transaction was rolled back: {why}"))
}

/// The database answered something that the statement cannot return.
pub(crate) fn unexpected(doing: &str) -> Error {
    Error::new(
        ErrorCode::CORRUPT,
        format!("{doing}: the server's answer is none that the statement can have"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_meaning() {
        for (state, code) in [
            ("40001", ErrorCode::CONFLICT),
            ("40P01", ErrorCode::CONFLICT),
            ("23505", ErrorCode::CONFLICT),
            ("53100", ErrorCode::RESOURCE_EXHAUSTED),
            ("53300", ErrorCode::RESOURCE_EXHAUSTED),
            ("57014", ErrorCode::TIMEOUT),
            ("55P03", ErrorCode::TIMEOUT),
            ("57P01", ErrorCode::UNAVAILABLE),
            ("57P03", ErrorCode::UNAVAILABLE),
            ("25006", ErrorCode::UNAVAILABLE),
            ("08006", ErrorCode::UNAVAILABLE),
            ("28P01", ErrorCode::PERMISSION_DENIED),
            ("42501", ErrorCode::PERMISSION_DENIED),
            ("42P01", ErrorCode::UNAVAILABLE),
            ("54000", ErrorCode::TOO_LARGE),
            ("22000", ErrorCode::INVALID_ARGUMENT),
            ("58030", ErrorCode::UNAVAILABLE),
            ("XX000", ErrorCode::INTERNAL),
            ("XX001", ErrorCode::CORRUPT),
            ("P0001", ErrorCode::INTERNAL),
            ("99999", ErrorCode::INTERNAL),
        ] {
            assert_eq!(meaning(state), code, "{state}");
        }
    }

    #[test]
    fn only_an_error_of_the_statement_proves_that_nothing_was_changed() {
        let (error, fatal, panic) = (Some(Severity::Error), Some(Severity::Fatal), Some(Severity::Panic));
        for state in ["40001", "40P01", "23505", "53100", "57014", "55P03", "25006", "42501", "XX000"] {
            assert!(is_proof(state, error), "{state}");
            assert!(!is_proof(state, fatal) && !is_proof(state, panic) && !is_proof(state, None), "{state}");
        }
        for state in ["40003", "08000", "08003", "08006", "08007", "08P01"] {
            assert!(!is_proof(state, error), "{state}");
        }
        for (state, severity) in [("57P01", fatal), ("57P02", fatal), ("57P03", fatal)] {
            assert!(!is_proof(state, severity), "{state}");
        }
    }
}
