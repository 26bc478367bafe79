//! Keys of a rekeying whose outcome is unknown: they may be in force, and then this host is the only one that
//! has them.

use keyway_storage::Work;

use super::state::State;
use crate::core::{Ceremonies, CoreError, Unsealed};

impl Ceremonies<'_> {
    /// Whether the keys in force come from this host's own rekey, whose outcome it did not know. If so, the
    /// host takes them.
    pub(in crate::core) async fn finds_its_own_keys(
        self,
        work: &Work,
        unsealed: &Unsealed,
    ) -> Result<bool, CoreError> {
        let Some((attempt, made)) = self.0.attempts.perhaps_in_force() else { return Ok(false) };
        if !unsealed.barrier.settle_rekey(work, &made.keys).await? {
            return Ok(false);
        }
        self.0.attempts.set_state(attempt, State::InForce);
        Ok(true)
    }
}
