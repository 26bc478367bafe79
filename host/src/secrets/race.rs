//! Changes that lose races try again, and changes whose outcome is unknown look before they do.

use std::time::{Duration, Instant};

use super::engine::EngineError;
use crate::storage::StorageError;

/// How long a change that loses races tries again.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often a change is tried whose outcome is unknown.
const UNKNOWN_ATTEMPTS: u32 = 3;
/// How long it waits before it looks, the first time.
const UNKNOWN_WAIT: Duration = Duration::from_millis(50);

/// One change, through all its attempts.
pub(super) struct Race {
    begun: Instant,
    unknown: Option<StorageError>,
    unknown_attempts: u32,
}

impl Race {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), unknown: None, unknown_attempts: 0 }
    }

    /// Whether an earlier attempt may have done it.
    pub(super) fn is_perhaps_done(&self) -> bool {
        self.unknown.is_some()
    }

    /// An attempt failed: nothing where another one makes sense, and otherwise what to answer.
    pub(super) async fn lost(&mut self, error: EngineError) -> Result<(), EngineError> {
        let error = match error {
            EngineError::Storage(error) => error,
            other => return Err(self.or_unknown(other)),
        };
        if error.is_unknown() {
            self.unknown_attempts += 1;
            self.unknown = Some(error);
            if self.unknown_attempts < UNKNOWN_ATTEMPTS {
                tokio::time::sleep(UNKNOWN_WAIT * self.unknown_attempts).await;
                return Ok(());
            }
        } else if !error.is_lost_race() {
            return Err(self.or_unknown(error.into()));
        } else if self.begun.elapsed() < DEADLINE {
            return Ok(());
        }
        Err(self.or_unknown(EngineError::Contended))
    }

    /// The result of looking; if that failed, the change is as unknown as it was.
    pub(super) fn survive<T>(&mut self, looked: Result<T, EngineError>) -> Result<T, EngineError> {
        looked.map_err(|error| self.or_unknown(error))
    }

    /// A result that says that nothing was done, unless an earlier attempt may have done it.
    pub(super) fn finish<T>(&mut self, result: T) -> Result<T, EngineError> {
        self.unknown.take().map_or(Ok(result), |unknown| Err(unknown.into()))
    }

    /// `error`, unless an earlier attempt may have done it: then that must be told.
    pub(super) fn or_unknown(&mut self, error: EngineError) -> EngineError {
        self.unknown.take().map_or(error, EngineError::Storage)
    }
}
