//! How far the new keys of a rekeying are. Keys that may be in force are never forgotten.

use crate::barrier::BarrierError;

/// How far new keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// They are not in force.
    Waiting,
    /// It is unknown whether they are in force. They must not be forgotten.
    Unknown,
    /// They are in force, and kept for a holder who did not receive the answer.
    InForce,
}

impl State {
    /// The state after an attempt to put the keys in force. An unknown outcome stays unknown until it is
    /// found out. A store that cannot be read now does not tell the outcome of an earlier write.
    pub(super) fn after(self, attempt: &Result<(), BarrierError>) -> Self {
        match attempt {
            Ok(()) => Self::InForce,
            // Other keys are in force, and these never will be.
            Err(BarrierError::Rekeyed) => Self::Waiting,
            Err(BarrierError::Storage(error)) if error.is_unknown() => Self::Unknown,
            Err(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use keyway_loader::{Error, ErrorCode};

    use super::*;
    use keyway_storage::StorageError;

    #[test]
    fn unknown_outcome_stays_unknown_until_it_is_known() {
        let failed = |error: Error| Err(BarrierError::Storage(StorageError::new("put", "main", error)));
        let away = || Error::new(ErrorCode::UNAVAILABLE, "away");
        assert_eq!(State::Waiting.after(&failed(away())), State::Waiting);
        assert_eq!(State::Waiting.after(&failed(away().with_unknown_outcome())), State::Unknown);
        assert_eq!(State::Unknown.after(&failed(away())), State::Unknown, "it could not be looked at");
        assert_eq!(State::Unknown.after(&Err(BarrierError::Contended)), State::Unknown);
        assert_eq!(State::Unknown.after(&Err(BarrierError::Rekeyed)), State::Waiting);
        assert_eq!(State::Unknown.after(&Ok(())), State::InForce);
    }
}
