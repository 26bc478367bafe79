//! Writes whose outcome is found out, and writes that belong together.

use keyway_loader::{Condition, Error, ErrorCode, Features, Key, Op, Put, Version};
use uuid::Uuid;

use crate::{Storage, StorageError, Work, operation::Operation};

/// How often a write whose outcome must be known is tried.
const SETTLE_ATTEMPTS: u32 = 3;

/// An operation that is written together with a record.
#[derive(Clone, Copy)]
pub enum Companion<'a> {
    /// Nothing.
    None,
    /// A condition, without which the record is not written.
    Check(Op<'a>),
    /// A record with a random mark. Each attempt has another mark, so hosts never take a late one for the
    /// current one.
    EpochMark(Key<'a>),
}

impl Storage {
    /// Writes one record whose value no other writer would write: it is sealed, or holds a random part. If
    /// the backend does not know the outcome, this finds it out.
    ///
    /// # Errors
    ///
    /// The backend's. The outcome is unknown only if the record cannot be read either.
    pub async fn put_settled(&self, work: &Work, put: Put<'_>) -> Result<Version, StorageError> {
        self.put_settled_with(work, put, Companion::None).await
    }

    /// As [`put_settled`](Self::put_settled), together with another operation, in one batch. That operation
    /// is left out if the backend has no such batches, or if no other host would miss it.
    ///
    /// # Errors
    ///
    /// The backend's; unknown only if it also cannot be read; `TOO_LARGE` if other hosts would miss what does
    /// not fit.
    pub async fn put_settled_with(
        &self,
        work: &Work,
        put: Put<'_>,
        companion: Companion<'_>,
    ) -> Result<Version, StorageError> {
        let mut attempts = 0;
        loop {
            let error = match self.put_with(work, put, companion).await {
                Ok(version) => return Ok(version),
                Err(error) if error.is_unknown() => error,
                // The attempt before may have been the one that was quicker.
                Err(error) if error.is_lost_race() && attempts > 0 => error,
                Err(error) => return Err(error),
            };
            attempts += 1;
            // If it cannot be read either, it stays unknown.
            let Ok(stored) = self.get(work, put.key()).await else { return Err(error) };
            if let Some(record) = stored.as_ref().filter(|record| record.value() == put.value()) {
                return Ok(record.version());
            }
            let condition = stored.map_or(Condition::Absent, |record| Condition::Version(record.version()));
            if put.condition() != Condition::Any && put.condition() != condition {
                let lost = Error::new(ErrorCode::PRECONDITION_FAILED, "another writer was faster");
                return Err(self.error(Operation::PUT, lost));
            }
            if attempts == SETTLE_ATTEMPTS {
                return Err(error);
            }
        }
    }

    async fn put_with(
        &self,
        work: &Work,
        put: Put<'_>,
        companion: Companion<'_>,
    ) -> Result<Version, StorageError> {
        let mark = Uuid::new_v4();
        let other = match companion {
            Companion::None => return self.put(work, put).await,
            Companion::Check(check) => check,
            Companion::EpochMark(place) => Op::put(place, mark.as_bytes()),
        };
        let ops = [operation(put), other];
        if !self.takes_at_once(work, &ops) {
            if self.takes_together(work, ops.len() as u64) && self.is_shared_by_hosts() {
                let message = "the record is longer than a batch may be, and without one other hosts would not hear of it";
                return Err(self.error(Operation::APPLY, Error::new(ErrorCode::TOO_LARGE, message)));
            }
            return self.put(work, put).await;
        }
        Ok(self.apply_for_first(work, &ops).await?.version())
    }

    /// Makes unconditional writes before a conditional one, which is the commit point. If the backend has
    /// atomic batches, all go in one. Otherwise they go in this order, so that no record refers to one that
    /// is not written. No other writer may use the keys of the unconditional writes.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn commit(&self, work: &Work, before: &[Op<'_>], point: Put<'_>) -> Result<(), StorageError> {
        let mut ops = before.to_vec();
        ops.push(operation(point));
        if self.takes_at_once(work, &ops) {
            return self.apply(work, &ops).await;
        }
        for op in before {
            let put = Put::new(op.key(), op.value()).when(Condition::Any);
            // Nothing refers to it before the commit point, and its key is its own: its outcome does not matter.
            self.put(work, put).await.map_err(StorageError::not_applied)?;
        }
        self.put(work, point).await.map(|_| ())
    }

    /// Whether the backend takes these operations as one atomic batch, with the check of a fence if the work
    /// has one.
    pub fn takes_at_once(&self, work: &Work, ops: &[Op<'_>]) -> bool {
        let bytes: usize = ops.iter().map(|op| op.key().bytes().len() + op.value().len()).sum();
        let count = ops.len() as u64 + u64::from(work.fence(self.slot()).is_some());
        self.takes_together(work, count) && bytes as u64 <= self.capabilities(work).limits.batch_bytes
    }

    /// Whether the backend has atomic batches of this number of operations.
    pub(crate) fn takes_together(&self, work: &Work, ops: u64) -> bool {
        let capabilities = self.capabilities(work);
        capabilities.features.contains(Features::ATOMIC_BATCH) && ops <= capabilities.limits.batch_ops
    }
}

/// A write as one of several.
pub(super) fn operation(put: Put<'_>) -> Op<'_> {
    let op = Op::put(put.key(), put.value()).when(put.condition());
    op.expiring_at_ms(put.expires_at_ms().unwrap_or_default())
}
