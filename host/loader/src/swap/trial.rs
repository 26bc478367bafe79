//! Whether a new generation may serve.

use tokio::time::timeout;

use super::{Chosen, Data, SwapError, Swapping, Target};
use crate::{
    Capabilities, Chain, Generation,
    readback::{self, Scratch},
};

impl Swapping {
    /// Whether a new generation may serve: it promises no less, it is the store that it should be (if that is
    /// marked), and it answers rightly.
    pub(super) async fn try_out(
        &self,
        old: Option<&Generation>,
        new: &Generation,
        scratch: &Scratch,
        is_marked: bool,
    ) -> Result<(), SwapError> {
        if let Some(what) = old.and_then(|old| self.less(old, &new.capabilities())) {
            return Err(SwapError::Promises { what });
        }
        let deadline = self.swap.deadlines.open;
        let tried = async {
            if is_marked {
                scratch.find_mark(new).await?;
            }
            scratch.check(new).await?;
            readback::tidy(new).await
        };
        let tried = timeout(deadline, tried).await;
        Ok(tried.map_err(|_| SwapError::Late { what: "reading back", deadline })??)
    }

    /// Names what the new generation promises less of than the old one, which the server relies on. A roll
    /// back is not held to that: the server relied on the former generation before.
    pub(super) fn less(&self, old: &Generation, new: &Capabilities) -> Option<&'static str> {
        let old = old.capabilities();
        let least = match (self.swap.data, &self.swap.target) {
            (Data::Kept, Target::Newest(_) | Target::Plugin(_)) => old,
            // Another store: what does not fit into it fails when it is copied.
            (Data::Migrated | Data::Discarded, _) | (_, Target::Previous) => Capabilities {
                read_consistency: old.read_consistency,
                durability: old.durability,
                limits: new.limits,
                ..Capabilities::LEAST
            },
        };
        least.beyond(new)
    }

    /// Leaves a mark in the store that serves. Answers whether there is one. If the store cannot be written
    /// to, a roll back with the same settings goes on without.
    pub(super) async fn leave_mark(
        &self,
        old: &Generation,
        chosen: &Chosen,
        scratch: &Scratch,
    ) -> Result<bool, SwapError> {
        let deadline = self.swap.deadlines.open;
        let left = match timeout(deadline, scratch.leave_mark(old)).await {
            Ok(left) => left.map_err(SwapError::Mark),
            Err(_) => Err(SwapError::Late { what: "writing to the store that serves", deadline }),
        };
        let is_way_back =
            matches!(self.swap.target, Target::Previous) && chosen.config.config == old.config().config;
        match left {
            Ok(()) => Ok(true),
            Err(error) if is_way_back => {
                tracing::warn!(
                    backend = self.slot.backend(),
                    error = %Chain(&error),
                    "what serves cannot be written to; the way back does without"
                );
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the records of the scratch keyspace; if they stay, a later swap removes them.
    pub(super) async fn clean(&self, generation: &Generation, scratch: &Scratch) {
        let cleaned = timeout(self.swap.deadlines.open, scratch.remove(generation)).await;
        if !matches!(cleaned, Ok(Ok(()))) {
            tracing::warn!(backend = self.slot.backend(), "the scratch keyspace remains");
        }
    }
}
