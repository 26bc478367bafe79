//! Writing.

use keyway_crypto::key::{RandomError, random_bytes};
use keyway_loader::{
    Batch, BatchMode, BatchResult, Delete, DropKeyspace, Error, ErrorCode, Key, Op, OpResult, Put, Version,
    WriteId,
};

use crate::{Storage, StorageError, Work, operation::Operation, settle};

/// Most records that one call removes.
const REMOVED_AT_ONCE: usize = 500;

impl Storage {
    /// Writes one record.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn put(&self, work: &Work, put: Put<'_>) -> Result<Version, StorageError> {
        if work.fence(&self.backend).is_some() {
            return Ok(self.apply_for_first(work, &[settle::operation(put)]).await?.version());
        }
        let put = put.with_write_id(write_id().map_err(|source| self.error(Operation::PUT, source))?);
        self.call(work, Operation::PUT, |open, call| open.put(call, put)).await
    }

    /// Removes one record.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn delete(&self, work: &Work, delete: Delete<'_>) -> Result<bool, StorageError> {
        if work.fence(&self.backend).is_some() {
            let op = Op::delete(delete.key()).when(delete.condition());
            return Ok(self.apply_for_first(work, &[op]).await?.existed());
        }
        let delete =
            delete.with_write_id(write_id().map_err(|source| self.error(Operation::DELETE, source))?);
        self.call(work, Operation::DELETE, |open, call| open.delete(call, delete)).await
    }

    /// Removes a keyspace with all its records; answers whether it existed.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn drop_keyspace(&self, work: &Work, keyspace: &str) -> Result<bool, StorageError> {
        let drop = DropKeyspace::new(
            keyspace,
            write_id().map_err(|source| self.error(Operation::DROP_KEYSPACE, source))?,
        );
        self.call(work, Operation::DROP_KEYSPACE, |open, call| open.drop_keyspace(call, drop)).await
    }

    /// Several operations, all of them or none.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn apply(&self, work: &Work, ops: &[Op<'_>]) -> Result<(), StorageError> {
        self.apply_all(work, ops).await.map(|_| ())
    }

    /// As [`apply`](Self::apply), with the result of each operation. If the work has a fence and the fence is
    /// gone, nothing is written.
    async fn apply_all(&self, work: &Work, ops: &[Op<'_>]) -> Result<BatchResult, StorageError> {
        let id = write_id().map_err(|source| self.error(Operation::APPLY, source))?;
        let Some(fence) = work.fence(&self.backend) else {
            let batch = Batch::new(ops, BatchMode::Atomic, id);
            return self.call(work, Operation::APPLY, |open, call| open.apply(call, batch)).await;
        };
        let fenced = [&[fence], ops].concat();
        let batch = Batch::new(&fenced, BatchMode::Atomic, id);
        let applied = self.call(work, Operation::APPLY, |open, call| open.apply(call, batch)).await;
        let results = applied.map_err(StorageError::fenced_off)?;
        Ok(results.iter().skip(1).map(|result| result.copied().map_err(Error::clone)).collect())
    }

    /// As [`apply`](Self::apply); what the first operation did.
    pub(crate) async fn apply_for_first(
        &self,
        work: &Work,
        ops: &[Op<'_>],
    ) -> Result<OpResult, StorageError> {
        let results = self.apply_all(work, ops).await?;
        let done = results.iter().next().and_then(Result::ok).copied();
        done.ok_or_else(|| {
            self.error(
                Operation::APPLY,
                Error::new(ErrorCode::INTERNAL, "a batch was answered without its results"),
            )
        })
    }

    /// Removes several records, each for itself.
    ///
    /// # Errors
    ///
    /// The backend's, for the first record that could not be removed.
    pub async fn delete_all(&self, work: &Work, keys: &[Key<'_>]) -> Result<(), StorageError> {
        let is_fenced = work.fence(&self.backend).is_some();
        let limit = usize::try_from(self.capabilities(work).limits.batch_ops).unwrap_or(usize::MAX);
        let limit = limit.saturating_sub(usize::from(is_fenced));
        for keys in keys.chunks(limit.clamp(1, REMOVED_AT_ONCE)) {
            let ops: Vec<Op<'_>> = keys.iter().map(|key| Op::delete(*key)).collect();
            if is_fenced {
                self.apply(work, &ops).await?;
                continue;
            }
            let id = write_id().map_err(|source| self.error(Operation::APPLY, source))?;
            let batch = Batch::new(&ops, BatchMode::Independent, id);
            let results: BatchResult =
                self.call(work, Operation::APPLY, |open, call| open.apply(call, batch)).await?;
            if let Some(error) = results.iter().find_map(Result::err) {
                return Err(self.error(Operation::APPLY, error.clone()));
            }
        }
        Ok(())
    }
}

/// The id of one mutation. Each id is new: a backend may take a repeated id for a repeated mutation.
fn write_id() -> Result<WriteId, Error> {
    let failed = |error: RandomError| Error::new(ErrorCode::INTERNAL, error.to_string());
    random_bytes().map(WriteId::new).map_err(failed)
}
