//! Making a cluster, and sealing.

use std::sync::Arc;

use keyway_storage::Work;

use super::{CoreError, SealControl, SealStatus, Unsealed};
use crate::seal::{Initialised, SealRecord, SealRecordError, ShareCounts, initialise};

impl SealControl<'_> {
    /// Makes a cluster.
    ///
    /// # Errors
    ///
    /// `Init`, with what is wrong; `Lost`, `Foreign` or `NotTheSystems` if the store is not this server's;
    /// `SealRecord` or `Marker` if its records cannot be read.
    pub async fn init(
        self,
        work: &Work,
        counts: ShareCounts,
        repeat: bool,
    ) -> Result<Initialised, CoreError> {
        // A store that was lost, or belongs to another cluster, must not be initialised.
        self.look(work).await?;
        let initialised = initialise(&self.0.backends.system, work, counts, repeat).await?;
        // Shares that were given before are void.
        self.0.sealing.progress().void();
        self.remember(initialised.cluster);
        tracing::info!(cluster = %initialised.cluster, "cluster initialised");
        Ok(initialised)
    }

    /// How far the seal is. A server that is unsealed says so while its store is away.
    ///
    /// # Errors
    ///
    /// When the seal record is not there or another's, or cannot be read and the server is sealed.
    pub async fn seal_status(self, work: &Work) -> Result<SealStatus, CoreError> {
        match self.look(work).await {
            Ok(looked) => {
                let record = looked.as_ref().map(|(record, _)| record);
                if let Some(record) = record {
                    self.seal_if_rekeyed(work, record).await?;
                }
                Ok(self.0.sealing.status_of(record))
            }
            // A store that answers, and has lost the record or another's, is no store that is away.
            Err(error @ CoreError::SealRecord(SealRecordError::Storage(_))) => {
                self.0.sealing.last_status().ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// If another host has changed the keys, a status request finds out, and this host seals itself.
    async fn seal_if_rekeyed(self, work: &Work, record: &SealRecord) -> Result<(), CoreError> {
        let Ok(unsealed) = self.0.unsealed() else { return Ok(()) };
        if unsealed.barrier.has_keys_of(record) {
            return Ok(());
        }
        // Unless it is this host that changes them.
        match self.0.host_sync().read_keys_again(&unsealed, work).await {
            Err(CoreError::Sealed) => Ok(()),
            read => read,
        }
    }

    /// Seals the server. Running requests end with the keys that they have.
    pub fn seal(self) {
        self.0.sealing.seal_when(|_| true, || self.end_session());
    }

    /// Drops these keys, unless others have replaced them. Answers whether it did.
    pub(super) fn seal_this(self, unsealed: &Arc<Unsealed>) -> bool {
        let is_this =
            |present: Option<&Arc<Unsealed>>| present.is_some_and(|present| Arc::ptr_eq(present, unsealed));
        self.0.sealing.seal_when(is_this, || self.end_session())
    }

    /// Ends what runs from unsealing to sealing.
    fn end_session(self) {
        self.0.upkeep.task.end();
        self.0.presence.end();
        self.0.reencryption.end();
        self.0.attempts.forget();
        self.0.audit.have(&[]);
    }
}
