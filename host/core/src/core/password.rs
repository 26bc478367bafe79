//! The second way to unseal: a password, if the configuration allows one. A token with `sudo` sets it. A
//! rekey removes it, because the keys that it leads to are gone.

use std::sync::Arc;

use keyway_crypto::{
    key::SecretKey,
    password::{Derivation, Password, PasswordError},
};
use keyway_storage::Work;
use tokio::sync::OwnedSemaphorePermit;

use super::{CoreError, SealControl, SealStatus, sealing::SessionStart};

impl SealControl<'_> {
    /// Since when there is a password, in RFC 3339; none if there is none.
    ///
    /// # Errors
    ///
    /// When the seal record cannot be read.
    pub async fn password_set(self, work: &Work) -> Result<Option<String>, CoreError> {
        let looked = self.look(work).await?;
        Ok(looked.and_then(|(record, _)| record.password().map(|(_, since)| since.to_owned())))
    }

    /// Makes this the password, in the place of another one.
    ///
    /// # Errors
    ///
    /// `NoPasswords` if the configuration does not allow one; `Busy` if another password is tried; `Sealed`;
    /// `Password` if no key comes out of it; `Barrier` if the seal record cannot be read or written.
    pub async fn set_password(self, work: &Work, password: Password) -> Result<(), CoreError> {
        let turn = self.password_turn()?;
        let derivation = Derivation::new().map_err(PasswordError::from)?;
        let key = derive(derivation.clone(), password, turn).await?;
        self.0.unsealed()?.barrier().set_password(work, Some(&(derivation, key))).await?;
        tracing::info!("from now on a password unseals as well as the shares");
        Ok(())
    }

    /// Takes the password away, if there is one.
    ///
    /// # Errors
    ///
    /// The keys' and the store's.
    pub async fn remove_password(self, work: &Work) -> Result<(), CoreError> {
        self.0.unsealed()?.barrier().set_password(work, None).await?;
        tracing::info!("no password unseals any more");
        Ok(())
    }

    /// Unseals with the password.
    ///
    /// # Errors
    ///
    /// `NoPasswords`, `WrongPassword` also if there is none, `Busy` while another is tried, and those of
    /// unsealing. The shares that were given stay as they are.
    pub async fn unseal_by_password(self, work: &Work, password: Password) -> Result<SealStatus, CoreError> {
        let turn = self.password_turn()?;
        let seals = self.0.sealing.progress().seals();
        let (record, _) = self.look(work).await?.ok_or(CoreError::NotInitialised)?;
        if self.0.unsealed().is_ok() {
            return Ok(self.0.sealing.status_of(Some(&record)));
        }
        let (derivation, _) = record.password().ok_or(CoreError::WrongPassword)?;
        let key = derive(derivation.clone(), password, turn).await?;
        // That took its time, in which the password or the keys may have become others.
        let (record, version) = self.look(work).await?.ok_or(CoreError::NotInitialised)?;
        let unlocked = record.unlock_by_password(&key).ok_or(CoreError::WrongPassword)?;
        self.open_up(work, (record, version), unlocked, SessionStart::Sealed(seals)).await
    }

    /// One password at a time: each takes memory and time, and this limits guessing.
    fn password_turn(self) -> Result<OwnedSemaphorePermit, CoreError> {
        if !self.0.settings.passwords {
            return Err(CoreError::NoPasswords);
        }
        Arc::clone(&self.0.passwords).try_acquire_owned().map_err(|_| CoreError::Busy)
    }
}

/// Derives the key on another thread, and to its end: the turn is over when the work is.
async fn derive(
    derivation: Derivation,
    password: Password,
    turn: OwnedSemaphorePermit,
) -> Result<SecretKey, CoreError> {
    let derived = tokio::task::spawn_blocking(move || {
        let key = derivation.derive(&password);
        drop(turn);
        key
    });
    Ok(derived.await.unwrap_or(Err(PasswordError::Parameters))?)
}
