//! Changes that lose races try again, and changes whose outcome is unknown look before they do.

use std::time::{Duration, Instant};

use keyway_loader::Version;
use keyway_storage::StorageError;

use super::engine::EngineError;

/// How long a change that loses races tries again.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often a change is tried whose outcome is unknown.
const UNKNOWN_ATTEMPTS: u32 = 3;
/// How long it waits before it looks, the first time.
const UNKNOWN_WAIT: Duration = Duration::from_millis(50);

/// One change, through all its attempts.
pub(super) struct Race {
    begun: Instant,
    unknown: Option<Unknown>,
    unknown_attempts: u32,
}

/// An attempt whose outcome is unknown.
struct Unknown {
    error: StorageError,
    /// The state that it began with.
    before: State,
}

/// What tells one state of a secret from another: the version of its record, none if there was no record.
pub(super) type State = Option<Version>;

impl Race {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), unknown: None, unknown_attempts: 0 }
    }

    /// Whether an earlier attempt may have done it.
    pub(super) fn is_perhaps_done(&self) -> bool {
        self.unknown.is_some()
    }

    /// Whether an earlier attempt may have succeeded, and the secret is not as that attempt found it. Then
    /// the caller may try again only if it can tell that another writer made the change. Otherwise the other
    /// write would be lost.
    pub(super) fn is_perhaps_changed_since(&self, now: State) -> bool {
        self.unknown.as_ref().is_some_and(|unknown| unknown.before != now)
    }

    /// The attempt of unknown outcome has not happened, and never will: another writer's change took its
    /// place.
    pub(super) fn was_not_done(&mut self) {
        self.unknown = None;
    }

    /// An attempt on this state failed: nothing if another one makes sense, and otherwise what to answer.
    pub(super) async fn lost(&mut self, error: EngineError, before: State) -> Result<(), EngineError> {
        let error = match error {
            EngineError::Storage(error) => error,
            other => return Err(self.or_unknown(other)),
        };
        if error.is_unknown() {
            self.unknown_attempts += 1;
            self.unknown = Some(Unknown { error, before });
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
        self.unknown.take().map_or(Ok(result), |unknown| Err(unknown.error.into()))
    }

    /// That it stays unknown.
    pub(super) fn stays_unknown(&mut self) -> EngineError {
        self.or_unknown(EngineError::Contended)
    }

    /// `error`, unless an earlier attempt may have succeeded: then the outcome is unknown, and the answer
    /// must say so.
    pub(super) fn or_unknown(&mut self, error: EngineError) -> EngineError {
        self.unknown.take().map_or(error, |unknown| unknown.error.into())
    }
}
