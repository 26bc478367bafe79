//! AppRole: machines log in with a role id, which says who they are, and a secret id, which proves it.
//!
//! [`role`] is what an administrator says of a role, [`secret_id`] the proofs; [`login`] makes a token of both. All of it lies in
//! the system's records, by mount.

pub mod login;
pub mod role;
pub mod secret_id;

use data_encoding::HEXLOWER;
use keyway_crypto::key::RandomError;
use keyway_storage::Work;
use thiserror::Error;
use uuid::Uuid;

pub use self::{role::Role, secret_id::SecretId};
use crate::{
    barrier::Barrier,
    mounts::AuthMount,
    system::{Records, SystemError},
    token::TokenError,
};

/// What the keys of all records of all mounts begin with.
const PREFIX: &str = "approle/";

/// Why something of AppRole failed.
#[derive(Debug, Error)]
pub enum AppRoleError {
    /// Its records.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// What is asked for cannot be.
    #[error("{0}")]
    Refused(String),
}

/// The AppRole of one mount, for one request.
#[derive(Clone, Copy)]
pub struct AppRoles<'a> {
    barrier: &'a Barrier,
    records: Records<'a>,
    work: &'a Work,
    mount: &'a AuthMount,
}

impl<'a> AppRoles<'a> {
    /// The AppRole of this mount.
    pub fn new(barrier: &'a Barrier, work: &'a Work, mount: &'a AuthMount) -> Self {
        Self { barrier, records: Records::new(barrier, work), work, mount }
    }

    /// The key of a record of this mount.
    fn key(&self, kind: &str, name: &str) -> Vec<u8> {
        format!("{PREFIX}{}/{kind}/{name}", self.mount.uuid).into_bytes()
    }

    /// The name of what is found by a text that the store must not know.
    fn name(&self, domain: &str, text: &str) -> String {
        HEXLOWER.encode(&self.barrier.name(&format!("{PREFIX}{}/{domain}", self.mount.uuid), text))
    }
}

/// Removes the records of a mount that was taken away; whether there were any.
///
/// # Errors
///
/// See [`SystemError`].
pub async fn forget(records: Records<'_>, mount: Uuid) -> Result<bool, SystemError> {
    let prefix = format!("{PREFIX}{mount}/").into_bytes();
    let names = records.names(&prefix).await?;
    let keys: Vec<Vec<u8>> = names.iter().map(|name| [prefix.as_slice(), name].concat()).collect();
    records.remove_all(&keys).await?;
    Ok(!keys.is_empty())
}
