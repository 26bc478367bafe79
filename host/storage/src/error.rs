//! Failures of backends, with the backend's name.

use std::time::Duration;

use keyway_loader::{Error, ErrorCode, Outcome};

/// The failures of a backend that another try, or an operator, may mend. All others, and those of a later
/// interface, are defects.
const TRANSIENT: [ErrorCode; 8] = [
    ErrorCode::CANCELLED,
    ErrorCode::CLOSED,
    ErrorCode::CONFLICT,
    ErrorCode::CURSOR_EXPIRED,
    ErrorCode::PERMISSION_DENIED,
    ErrorCode::RESOURCE_EXHAUSTED,
    ErrorCode::TIMEOUT,
    ErrorCode::UNAVAILABLE,
];

/// A failed call of a backend: which operation failed on which backend, of which kind the failure is, whether
/// another try may succeed, whether the effect may have happened, and what the backend says.
#[derive(Debug, thiserror::Error)]
#[error("{operation} on backend {backend:?}: {source}")]
pub struct StorageError {
    operation: &'static str,
    backend: String,
    source: Error,
}

impl StorageError {
    /// A failure of an operation, by its name in the interface, on a backend, by its name in the configuration.
    pub fn new(operation: &'static str, backend: &str, source: Error) -> Self {
        Self { operation, backend: backend.to_owned(), source }
    }

    /// The same failure as one that changed nothing: no record refers to the write, so its outcome does not
    /// matter.
    #[must_use]
    pub fn not_applied(self) -> Self {
        let source = Error::new(self.source.code(), self.source.message());
        Self { source, ..self }
    }

    /// The failure of a batch that begins with the check of a fence: if it was that, it is no race that was
    /// lost.
    pub(super) fn fenced_off(self) -> Self {
        if self.source.index() != Some(0) || self.source.code() != ErrorCode::PRECONDITION_FAILED {
            return self;
        }
        let message = "another host has taken over what this one was doing";
        Self { source: Error::new(ErrorCode::CANCELLED, message), ..self }
    }

    /// Whether a condition did not hold: another writer was faster.
    pub fn is_lost_race(&self) -> bool {
        let code = self.source.code();
        code == ErrorCode::ALREADY_EXISTS
            || code == ErrorCode::PRECONDITION_FAILED
            || code == ErrorCode::CONFLICT
    }

    /// Whether the effect may have happened, and no one knows.
    pub fn is_unknown(&self) -> bool {
        self.source.outcome() == Outcome::UNKNOWN
    }

    /// Whether another try, or an operator, may mend it. All others are permanent: the record's, or defects.
    pub fn is_transient(&self) -> bool {
        TRANSIENT.contains(&self.source.code())
    }

    /// What kind of failure it was.
    pub fn code(&self) -> ErrorCode {
        self.source.code()
    }

    /// When another try makes sense, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.source.retry_after_ms().map(Duration::from_millis)
    }

    /// The backend that failed.
    pub fn backend(&self) -> &str {
        &self.backend
    }
}
