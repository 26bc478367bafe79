//! New keys, this host's and others'. A key seals nothing until it is durable.

use super::{Barrier, BarrierError};
use crate::{clock, seal::SealRecord, storage::RequestId};

/// How often a rotation that loses races is tried.
const ATTEMPTS: u32 = 8;

impl Barrier {
    /// Adds a key to the keyring, with which new records are sealed; answers its number.
    ///
    /// # Errors
    ///
    /// See [`BarrierError`]. After a storage error with an unknown outcome there may be a new key.
    pub async fn rotate(&self, request: RequestId) -> Result<u32, BarrierError> {
        let _one_at_a_time = self.uses.changing().await;
        self.add_key(request).await
    }

    /// Reads the keyring again.
    pub(super) async fn refresh(&self, request: RequestId) -> Result<(), BarrierError> {
        let (record, _) = self.seal_record(request).await?;
        self.publish(record.keyring(&self.root)?);
        Ok(())
    }

    /// As [`rotate`](Self::rotate), for whoever changes the keys already.
    pub(super) async fn add_key(&self, request: RequestId) -> Result<u32, BarrierError> {
        for _ in 0..ATTEMPTS {
            let (record, version) = self.seal_record(request).await?;
            let mut keyring = record.keyring(&self.root)?;
            let number = keyring.rotate(clock::unix_seconds())?;
            let next = record.with_keyring(&self.root, &keyring)?;
            match next.replace(&self.system, request, version).await {
                Ok(_) => {
                    self.publish(keyring);
                    tracing::info!(key = number, "the keyring has a new key");
                    return Ok(number);
                }
                Err(error) if error.is_lost_race() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BarrierError::Contended)
    }

    async fn seal_record(
        &self,
        request: RequestId,
    ) -> Result<(SealRecord, keyway_loader::Version), BarrierError> {
        let loaded = SealRecord::load_versioned(&self.system, request).await?;
        loaded
            .filter(|(record, _)| record.cluster_id == self.cluster)
            .ok_or_else(|| BarrierError::NoSealRecord { backend: self.system.name().to_owned() })
    }
}
