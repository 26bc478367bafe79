//! AppRole: machines log in with a role id, which says who they are, and a secret id, which proves it.
//!
//! [`role`] has an administrator's settings of a role, [`secret_id`] the secret ids; [`login`] makes a token
//! from both. All of it lies in the system's records, by mount.

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
    /// The request asks for what the role does not allow, or for what is not there.
    #[error(transparent)]
    Refused(#[from] AppRoleRefusal),
}

/// What AppRole does not allow. The client sees the texts, most of which are Vault's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppRoleRefusal {
    /// The role id, the secret id or the address is not right. One text for all, which tells an attacker nothing.
    #[error("invalid role or secret ID")]
    Login,
    /// The role was deleted.
    #[error("role {role:?} does not exist during renewal")]
    RoleGone {
        /// The role's name.
        role: String,
    },
    /// Another role has this role id.
    #[error("role_id already in use")]
    RoleIdInUse,
    /// The request is valid for an empty role, and not for the stored one.
    #[error("the role cannot be understood")]
    Role,
    /// Anyone who knows the role id could log in.
    #[error("at least one constraint should be enabled on the role: bind_secret_id, or bound networks")]
    Unconstrained,
    /// The role's tokens would live longer than they may.
    #[error("'token_ttl' cannot be greater than 'token_max_ttl'")]
    TtlBeyondMax,
    /// The role takes no secret ids.
    #[error("bind_secret_id is not set on the role")]
    NoSecretIds,
    /// A secret id lives at most as long as the role says.
    #[error("ttl cannot be longer than the role's secret_id_ttl")]
    SecretIdTtl,
    /// A secret id is used at most as often as the role says.
    #[error("num_uses cannot be higher than the role's secret_id_num_uses")]
    SecretIdUses,
    /// A secret id is bound to networks within the role's.
    #[error("{field} is not within what the role allows")]
    SecretIdNetworks {
        /// The request's field.
        field: &'static str,
    },
    /// The role has this secret id.
    #[error("SecretID is already registered")]
    SecretIdExists,
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

    /// The name under which a record is found by a text that the store must not know.
    fn name(&self, domain: &str, text: &str) -> String {
        HEXLOWER.encode(&self.barrier.name(&format!("{PREFIX}{}/{domain}", self.mount.uuid), text))
    }
}

/// Removes the records of a mount that was taken away; whether there were any.
///
/// # Errors
///
/// `Storage` if the store cannot list the keys, or does not remove them.
pub async fn forget(records: Records<'_>, mount: Uuid) -> Result<bool, SystemError> {
    let prefix = format!("{PREFIX}{mount}/").into_bytes();
    let names = records.names(&prefix).await?;
    let keys: Vec<Vec<u8>> = names.iter().map(|name| [prefix.as_slice(), name].concat()).collect();
    records.remove_all(&keys).await?;
    Ok(!keys.is_empty())
}
