//! How a backend is doing, and its end.

use std::time::Duration;

use keyway_loader::{Error, ErrorCode, Health};

use crate::{Storage, StorageError, Work, operation::Operation};

/// How long a health request waits for a backend that is being swapped.
const SWAP_PATIENCE: Duration = Duration::from_secs(3);
/// How long a server that ends waits for a swap.
const SWAP_ENDS: Duration = Duration::from_secs(10);

impl Storage {
    /// How the backend is doing.
    ///
    /// # Errors
    ///
    /// The backend's, if it cannot even tell.
    pub async fn health(&self, work: &Work) -> Result<Health, StorageError> {
        // While it is swapped, its answer is good when it is there again, or late.
        let entered = tokio::time::timeout(SWAP_PATIENCE, self.enter(work, Operation::HEALTH)).await;
        let open = entered.unwrap_or_else(|_| {
            Err(self.error(
                Operation::HEALTH,
                Error::new(ErrorCode::UNAVAILABLE, "it is being swapped for another generation"),
            ))
        })?;
        let health = self.guard.call_health(work, |call| open.health(call)).await;
        health.map_err(|source| self.error(Operation::HEALTH, source))
    }

    /// Finishes the calls in flight, and closes the backend, if it is open, and its former generations. No
    /// swap begins any more.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn shutdown(&self, work: &Work) -> Result<(), StorageError> {
        self.backend.end_turns(SWAP_ENDS).await;
        let _late = tokio::time::timeout(SWAP_ENDS, self.backend.drained()).await;
        let Ok(open) = self.generation() else { return Ok(()) };
        let closed = self.guard.call_shutdown(work, |call| open.shutdown(call)).await;
        closed.map_err(|source| self.error(Operation::SHUTDOWN, source))
    }
}
