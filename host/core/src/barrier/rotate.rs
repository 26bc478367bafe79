//! New keys, this host's and others'. A key seals nothing until it is durable.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use keyway_common::clock;
use keyway_crypto::{envelope::OpenError, key::SecretKey, keyring::Keyring, password::Derivation};
use keyway_storage::Work;

use super::{Barrier, BarrierError};
use crate::seal::{NextKeys, SealRecord};

/// How often a rotation that loses races is tried.
const ATTEMPTS: u32 = 8;

impl Barrier {
    /// Adds a key to the keyring, with which new records are sealed; answers its number.
    ///
    /// # Errors
    ///
    /// `Rotate` if there is no further key; `Contended` if other hosts rotate all the time; `Rekeyed`;
    /// `Storage`, `SealRecord`, `NoSealRecord`, `Open` or `Seal` if the seal record cannot be read or
    /// written. After a storage error with an unknown outcome there may be a new key.
    pub async fn rotate(&self, work: &Work) -> Result<u32, BarrierError> {
        let _one_at_a_time = self.uses.changing().await;
        self.add_key(work).await
    }

    /// Adds a key if the newest one is older; whether it did.
    ///
    /// # Errors
    ///
    /// As [`rotate`](Self::rotate).
    pub async fn rotate_older_than(&self, work: &Work, age: Duration) -> Result<bool, BarrierError> {
        let _one_at_a_time = self.uses.changing().await;
        let is_old = |made: u64| clock::unix_seconds().saturating_sub(made) >= age.as_secs();
        if !is_old(self.keyring().newest_made()) {
            return Ok(false);
        }
        // Another host may have been first.
        self.refresh(work).await?;
        if !is_old(self.keyring().newest_made()) {
            return Ok(false);
        }
        self.add_key(work).await.map(|_| true)
    }

    /// Reads the keyring again, in which another host may have made a key.
    ///
    /// # Errors
    ///
    /// `Storage`, `SealRecord` or `NoSealRecord` if the seal record cannot be read; `Rekeyed` if the root key
    /// is another.
    pub(crate) async fn read_again(&self, work: &Work) -> Result<(), BarrierError> {
        // Not while this host changes the keys itself: the store may have newer keys than this host.
        let _one_at_a_time = self.uses.changing().await;
        self.refresh(work).await
    }

    /// As [`read_again`](Self::read_again), unless another request has found this key meanwhile.
    pub(super) async fn read_until(&self, work: &Work, number: u32) -> Result<(), BarrierError> {
        let _one_at_a_time = self.uses.changing().await;
        if self.keyring().newest() >= number {
            return Ok(());
        }
        self.refresh(work).await
    }

    /// Whether the root key of this host is that of the record.
    pub(crate) fn has_keys_of(&self, record: &SealRecord) -> bool {
        !matches!(record.keyring(&self.root()), Err(OpenError::NotAuthentic))
    }

    /// As [`read_again`](Self::read_again), for a caller that holds the lock of key changes.
    pub(super) async fn refresh(&self, work: &Work) -> Result<(), BarrierError> {
        let (record, _) = self.seal_record(work).await?;
        self.publish(self.keyring_in(&record)?);
        Ok(())
    }

    /// As [`rotate`](Self::rotate), for a caller that holds the lock of key changes.
    pub(super) async fn add_key(&self, work: &Work) -> Result<u32, BarrierError> {
        for _ in 0..ATTEMPTS {
            let (record, version) = self.seal_record(work).await?;
            let mut keyring = self.keyring_in(&record)?;
            let number = keyring.rotate(clock::unix_seconds())?;
            let next = record.with_keyring(&self.root(), &keyring)?;
            match next.replace(&self.system, work, version).await {
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

    fn keyring_in(&self, record: &SealRecord) -> Result<Keyring, BarrierError> {
        record.keyring(&self.root()).map_err(|error| match error {
            OpenError::NotAuthentic => BarrierError::Rekeyed,
            error => error.into(),
        })
    }

    /// Puts other keys in the place of the unseal key and the root key, in one conditional write: from then
    /// on these shares unseal, and no others. Records are sealed with a new key from then on, because how
    /// often the present one was used is counted under the former root key. Asked again after an unknown
    /// outcome, it finds out.
    ///
    /// # Errors
    ///
    /// `Rekeyed` if another rekeying was faster; `Contended`; `Rotate` if there is no further key; `Storage`,
    /// `SealRecord`, `NoSealRecord`, `Open` or `Seal` if the seal record cannot be read or written. After a
    /// storage error with an unknown outcome the former shares may be dead.
    pub async fn rekey(&self, work: &Work, next: &NextKeys) -> Result<(), BarrierError> {
        let _one_at_a_time = self.uses.changing().await;
        for _ in 0..ATTEMPTS {
            let (record, version) = self.seal_record(work).await?;
            if record.has_shares(&next.shares) {
                self.adopt(&next.root, record.keyring(&next.root)?);
                return Ok(());
            }
            let mut keyring = self.keyring_in(&record)?;
            keyring.rotate(clock::unix_seconds())?;
            let rekeyed = record.with_keys(next, &keyring)?;
            match rekeyed.replace(&self.system, work, version).await {
                Ok(_) => {
                    self.adopt(&next.root, keyring);
                    return Ok(());
                }
                Err(error) if error.is_lost_race() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BarrierError::Contended)
    }

    /// Finds out what has become of a [`rekey`](Self::rekey) whose outcome is unknown; whether these keys are
    /// in force, and taken into use.
    ///
    /// # Errors
    ///
    /// `Storage`, `SealRecord`, `NoSealRecord` or `Open` if the seal record cannot be read.
    pub(crate) async fn settle_rekey(&self, work: &Work, next: &NextKeys) -> Result<bool, BarrierError> {
        let _one_at_a_time = self.uses.changing().await;
        let (record, _) = self.seal_record(work).await?;
        let is_in_force = record.has_shares(&next.shares);
        if is_in_force {
            self.adopt(&next.root, record.keyring(&next.root)?);
        }
        Ok(is_in_force)
    }

    /// Makes a password's key another way to the root key, or takes that way away.
    ///
    /// # Errors
    ///
    /// `Rekeyed` if the root key is another; `Contended`; `Storage`, `SealRecord`, `NoSealRecord`, `Open` or
    /// `Seal` if the seal record cannot be read or written.
    pub async fn set_password(
        &self,
        work: &Work,
        password: Option<&(Derivation, SecretKey)>,
    ) -> Result<(), BarrierError> {
        let _one_at_a_time = self.uses.changing().await;
        for _ in 0..ATTEMPTS {
            let (record, version) = self.seal_record(work).await?;
            // Another root key would be another cluster's, or another host's rekeying.
            self.keyring_in(&record)?;
            let next = record.with_password(&self.root(), password)?;
            match next.replace(&self.system, work, version).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_lost_race() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BarrierError::Contended)
    }

    fn adopt(&self, root: &SecretKey, keyring: Keyring) {
        *self.root.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(root.copy());
        self.publish(keyring);
        tracing::info!("the unseal key and the root key are others from now on");
    }

    async fn seal_record(&self, work: &Work) -> Result<(SealRecord, keyway_loader::Version), BarrierError> {
        let loaded = SealRecord::load_versioned(&self.system, work).await?;
        loaded
            .filter(|(record, _)| record.cluster_id == self.cluster)
            .ok_or_else(|| BarrierError::NoSealRecord { backend: self.system.name().to_owned() })
    }
}
