//! Why a token could not be looked up or changed.

use keyway_crypto::key::RandomError;
use keyway_storage::StorageError;
use thiserror::Error;

use super::bounds::{MAX_ANCESTORS, MAX_META, MAX_META_BYTES, MAX_POLICIES};
use crate::{barrier::BarrierError, system::SystemError};

/// Why a token could not be looked up or changed.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Its record.
    #[error("a token's record: {0}")]
    System(#[from] SystemError),
    /// The keys.
    #[error("a token's record: {0}")]
    Barrier(#[from] BarrierError),
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The request asks for what the token, its parent or its role does not allow.
    #[error(transparent)]
    Refused(#[from] TokenRefusal),
}

/// What a token, its parent or its role does not allow. The client sees the texts, most of which are Vault's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenRefusal {
    /// There is no such token.
    #[error("token not found")]
    NotFound,
    /// A token with the wanted id exists.
    #[error("there is a token with this id already")]
    Exists,
    /// The token was made not renewable, or never expires.
    #[error("lease is not renewable")]
    NotRenewable,
    /// The token has lived as long as it may.
    #[error("past the max TTL, cannot renew")]
    PastMaxTtl,
    /// The auth method was disabled.
    #[error("the auth method that made this token is gone, not renewing")]
    MethodGone,
    /// The role was deleted.
    #[error("original token role {role:?} could not be found, not renewing")]
    RoleGone {
        /// The role's name.
        role: String,
    },
    /// The request is valid for an empty role, and not for the stored one.
    #[error("the role cannot be understood")]
    Role,
    /// The maker has no sudo capability.
    #[error("root or sudo privileges required {to_do}")]
    NeedsSudo {
        /// What needs it, as the end of the sentence.
        to_do: &'static str,
    },
    /// The parent has a limited number of uses, which would not bind a child.
    #[error("restricted use token cannot generate child tokens")]
    RestrictedParent,
    /// The role makes no orphans, and the request asks for one.
    #[error("no_parent: the role makes no orphans")]
    NoOrphans,
    /// The line of parents is too long.
    #[error("a token has at most {MAX_ANCESTORS} ancestors; make an orphan")]
    TooManyAncestors,
    /// A root token that expires cannot make one that does not.
    #[error("expiring root tokens cannot create non-expiring root tokens")]
    UnendingRoot,
    /// Only a root token makes a root token.
    #[error("root tokens may not be created without parent token being root")]
    RootFromOther,
    /// A child has no policy that its parent lacks.
    #[error("child policies must be subset of parent")]
    BeyondParent,
    /// More policies than a token takes.
    #[error("a token has at most {MAX_POLICIES} policies")]
    TooManyPolicies,
    /// No one gives this policy to a token by name.
    #[error("cannot assign policy {name:?}")]
    NotAssignable {
        /// The policy's name.
        name: String,
    },
    /// The text is not a policy's name.
    #[error("{reason}")]
    PolicyName {
        /// Which text, and why not.
        reason: String,
    },
    /// The role does not allow all wanted policies.
    #[error(
        "token policies ({wanted:?}) must be subset of the role's allowed policies ({allowed:?}) or glob policies ({globs:?})"
    )]
    OutsideRole {
        /// The wanted policies.
        wanted: Vec<String>,
        /// The names that the role allows.
        allowed: Vec<String>,
        /// The patterns that the role allows.
        globs: Vec<String>,
    },
    /// The role forbids a wanted policy.
    #[error("token policy {policy:?} is disallowed by this role")]
    DisallowedByRole {
        /// The policy.
        policy: String,
    },
    /// More metadata than a token or a secret id takes.
    #[error("metadata have at most {MAX_META} names, and {MAX_META_BYTES} bytes in all")]
    TooMuchMetadata,
}
