//! Failures of backends, with the backend's name.

use std::time::Duration;

use keyway_loader::{Error, ErrorCode, Outcome};

/// The failures of a backend that another try, or an operator, may mend. All others, and those of a later interface, are
/// defects.
const TEMPORARY: [ErrorCode; 8] = [
    ErrorCode::CANCELLED,
    ErrorCode::CLOSED,
    ErrorCode::CONFLICT,
    ErrorCode::CURSOR_EXPIRED,
    ErrorCode::PERMISSION_DENIED,
    ErrorCode::RESOURCE_EXHAUSTED,
    ErrorCode::TIMEOUT,
    ErrorCode::UNAVAILABLE,
];

/// A failed call to a backend.
#[derive(Debug, thiserror::Error)]
#[error("backend {backend:?}: {source}")]
pub struct StorageError {
    backend: String,
    source: Error,
}

impl StorageError {
    /// A failure of the backend `backend`.
    pub fn new(backend: &str, source: Error) -> Self {
        Self { backend: backend.to_owned(), source }
    }

    /// The same failure of a write on which nothing depends: whatever has become of it, nothing has changed.
    #[must_use]
    pub fn not_applied(self) -> Self {
        let source = Error::new(self.source.code(), self.source.message());
        Self { source, ..self }
    }

    /// The failure of a batch that begins with the check of a fence: where it was that, it is no race that was lost.
    pub(super) fn fenced_off(self) -> Self {
        if self.source.index() != Some(0) || self.source.code() != ErrorCode::PRECONDITION_FAILED {
            return self;
        }
        let message = "another host has taken over what this one was doing";
        Self { source: Error::new(ErrorCode::CANCELLED, message), ..self }
    }

    /// Whether a condition did not hold: somebody else was quicker.
    pub fn is_lost_race(&self) -> bool {
        let code = self.source.code();
        code == ErrorCode::ALREADY_EXISTS
            || code == ErrorCode::PRECONDITION_FAILED
            || code == ErrorCode::CONFLICT
    }

    /// Whether the effect may have happened.
    pub fn is_unknown(&self) -> bool {
        self.source.outcome() == Outcome::UNKNOWN
    }

    /// Whether it is one that another try, or an operator, may mend; all others are the record's, or defects.
    pub fn is_transient(&self) -> bool {
        TEMPORARY.contains(&self.source.code())
    }

    /// What kind of failure it was.
    pub fn code(&self) -> ErrorCode {
        self.source.code()
    }

    /// When another try makes sense, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.source.retry_after_ms().map(Duration::from_millis)
    }

    /// The backend that failed.
    pub fn backend(&self) -> &str {
        &self.backend
    }
}
