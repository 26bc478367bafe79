//! Why the server could not do what it was asked to.

use std::path::PathBuf;

use keyway_crypto::password::PasswordError;
use keyway_loader::SwapError;
use thiserror::Error;
use uuid::Uuid;

use super::ceremony::refusal::CeremonyRefusal;
use crate::{
    audit::refusal::DeviceRefusal,
    barrier::BarrierError,
    mounts::MountError,
    policy::PolicyError,
    seal::{InitError, SealRecordError, marker::MarkerError},
    secrets::EngineError,
    system::SystemError,
    token::TokenError,
};

/// Why the server could not do what it was asked to.
#[derive(Debug, Error)]
pub enum CoreError {
    /// The server is sealed.
    #[error("Keyway is sealed")]
    Sealed,
    /// There is no cluster.
    #[error("Keyway is not initialised")]
    NotInitialised,
    /// The share is not one of this cluster's.
    #[error("this is not an unseal share of this cluster; the progress is unchanged")]
    WrongShare,
    /// The password is another one, or there is none.
    #[error("this is not the password that unseals, or there is none; the shares unseal")]
    WrongPassword,
    /// The configuration allows no password.
    #[error("a password unseals only where the configuration allows it: [seal] password = true")]
    NoPasswords,
    /// No key comes out of a password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// No token, or none that is known.
    #[error("permission denied")]
    PermissionDenied,
    /// Another share is being taken.
    #[error("another share is being taken; give this one again in a moment")]
    Busy,
    /// A step of a rekeying or of making a root token that does not fit its state.
    #[error(transparent)]
    Ceremony(#[from] CeremonyRefusal),
    /// Initialisation.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The seal record.
    #[error(transparent)]
    SealRecord(#[from] SealRecordError),
    /// The shares fit their hashes, but not the keys.
    #[error("the shares do not open the keys in the seal record: the record was changed")]
    KeysDoNotOpen,
    /// The initialisation was repeated while shares were given.
    #[error("the initialisation was repeated meanwhile; unseal with the shares that it made")]
    SharesReplaced,
    /// The keys.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
    /// The mounts.
    #[error(transparent)]
    Mounts(#[from] MountError),
    /// A token's record.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The re-encryption of a mount.
    #[error("mount {mount:?}: {source}")]
    Reencryption {
        /// Which mount.
        mount: String,
        /// Why.
        source: Box<EngineError>,
    },
    /// A policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// An audit device that cannot be added or removed.
    #[error(transparent)]
    AuditDevice(#[from] DeviceRefusal),
    /// Another record of the system's.
    #[error(transparent)]
    System(#[from] SystemError),
    /// A backend that is not configured.
    #[error("there is no backend {backend:?} in the configuration")]
    NoBackend {
        /// Which.
        backend: String,
    },
    /// A backend was not swapped; what served before serves on, unless it says otherwise.
    #[error(transparent)]
    Swap(Box<SwapError>),
    /// The data format was not upgraded.
    #[error(transparent)]
    Upgrade(Box<SwapError>),
    /// What served before cannot read the data format that the store has now.
    #[error("{swap}; a backup from before the upgrade is {}", archive.display())]
    SwapAfterUpgrade {
        /// Why.
        swap: Box<SwapError>,
        /// The backup.
        archive: PathBuf,
    },
    /// The backends of this server are not from plugins.
    #[error("the backends of this server are linked into it, and cannot be swapped")]
    NotFromPlugins,
    /// The request names no plugin, and the configuration does not either.
    #[error("the backend is no longer in the configuration; name a plugin, or put it back and reload")]
    NotConfigured,
    /// The keys of all secrets would be lost.
    #[error(
        "the system backend holds the keys of all secrets, and is never discarded; migrate it, or stop the server"
    )]
    DiscardsSystem,
    /// A backend whose reads may be of an earlier state: versions would be lost, and revocations not seen.
    #[error(
        "backend {backend:?} may answer reads from an earlier state, which Keyway cannot build on; use another backend"
    )]
    ReadsStale {
        /// Which.
        backend: String,
    },
    /// A mount that the configuration makes.
    #[error("the configuration mounts {path}/; take it out there, and then unmount it")]
    Configured {
        /// Where.
        path: String,
    },
    /// A cluster marker.
    #[error(transparent)]
    Marker(#[from] MarkerError),
    /// A store that this server knows is empty.
    #[error(
        "the store is lost: backend {backend:?} has no seal record of cluster {cluster}, which this server has used before; \
         put the store back, or start over with `keyway server --forget-store {cluster}`"
    )]
    Lost {
        /// Which backend.
        backend: String,
        /// The cluster.
        cluster: Uuid,
    },
    /// A store of secrets that is empty although it was used.
    #[error(
        "the secrets are lost: backend {backend:?} was used by cluster {cluster}, and holds nothing of it; put its store back, or \
         take its mounts away with `keyway mount remove` and make them again"
    )]
    SecretsLost {
        /// Which backend.
        backend: String,
        /// The cluster.
        cluster: Uuid,
    },
    /// A store that holds another cluster.
    #[error(
        "backend {backend:?} holds records of cluster {found}, and this server belongs to cluster {cluster}; \
         configure that cluster's own store"
    )]
    Foreign {
        /// Which backend.
        backend: String,
        /// Whose records it holds.
        found: Uuid,
        /// Whose they should be.
        cluster: Uuid,
    },
    /// A store that holds the secrets of a cluster whose keys are elsewhere.
    #[error(
        "backend {backend:?} holds secrets of cluster {found}, and not its seal record; name the backend that has it as \
         system_backend"
    )]
    NotTheSystems {
        /// Which backend.
        backend: String,
        /// Whose secrets.
        found: Uuid,
    },
    /// A store that cannot be forgotten.
    #[error("--forget-store {cluster}: {reason}")]
    NotForgotten {
        /// Which cluster was named.
        cluster: Uuid,
        /// Why not.
        reason: String,
    },
}
