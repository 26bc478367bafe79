//! How far the new keys of a rekeying are. Keys that may be in force are never forgotten.

use crate::barrier::BarrierError;

/// How far new keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// They are not in force.
    Waiting,
    /// Nobody knows whether they are in force. They must not be forgotten.
    Unknown,
    /// They are in force, and kept for whoever did not hear of it.
    InForce,
}

impl State {
    /// How far they are after an attempt to put them in force. What was unknown stays so until it is known: that the store cannot
    /// even be read now does not say what became of the write before.
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
