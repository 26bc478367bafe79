//! Why a library may not run.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::Policy;
use crate::{Digest, report::Fix};

/// Why a library may not run.
#[derive(Debug, Error)]
pub enum TrustError {
    /// Nothing says how to decide.
    #[error("no trust policy is configured for {}, and what has none is refused", directory.display())]
    NoPolicy {
        /// The directory.
        directory: PathBuf,
    },
    /// The environment would choose the policy.
    #[error(
        "{} is searched because the environment names it, and there the policy {:?} does not count",
        directory.display(), policy.name()
    )]
    FromEnvironment {
        /// The directory.
        directory: PathBuf,
        /// The policy that would be used.
        policy: Policy,
    },
    /// There is no lock file.
    #[error("there is no lock file {}, and the trust policy \"lock\" refuses what is not in it", path.display())]
    NoLock {
        /// Where it should be.
        path: PathBuf,
    },
    /// The lock file cannot be read.
    #[error("read the lock file {}", path.display())]
    ReadLock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The lock file cannot be understood.
    #[error("the lock file {} cannot be understood: {message}", path.display())]
    MalformedLock {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// The library is not in the lock file.
    #[error("{plugin} is not in {}: its SHA-256 is {digest}{known}", path.display())]
    NotLocked {
        /// Which plugin.
        plugin: String,
        /// The lock file.
        path: PathBuf,
        /// The library's digest.
        digest: Digest,
        /// What the lock file has for the name instead.
        known: String,
    },
    /// There is no signature.
    #[error("there is no signature {}, and the trust policy \"signed\" refuses what has none", path.display())]
    NoSignature {
        /// Where it should be.
        path: PathBuf,
    },
    /// The signature cannot be read.
    #[error("read the signature {}", path.display())]
    ReadSignature {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The signature does not let this library run.
    #[error("the signature {} does not count: {reason}", path.display())]
    BadSignature {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No key may sign for this plugin.
    #[error("no key of the configuration may sign for plugin {plugin}")]
    NoKey {
        /// Which plugin.
        plugin: String,
    },
    /// The system does not tell who owns a file.
    #[error("this system does not tell who owns {}, and the trust policy \"owner\" needs to know", path.display())]
    NoOwners {
        /// The file.
        path: PathBuf,
    },
    /// The directories above cannot be judged.
    #[error("the directories above {} cannot be judged: {reason}", path.display())]
    Unjudged {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A link out of the directory.
    #[error(
        "{} is a link to {}, out of its directory, which the trust policy \"owner\" does not follow",
        path.display(), target.display()
    )]
    LeadsOut {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Others than the owner may write the file.
    #[error("{} can be written by others than its owner (mode {mode:o})", path.display())]
    OthersWrite {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Others may put another file in its place.
    #[error(
        "the directory {} can be written by others than root and this program's user (owner {user}, mode {mode:o})",
        path.display()
    )]
    OthersReplace {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        user: u32,
        /// Its mode.
        mode: u32,
    },
}

impl Fix for TrustError {
    fn fix(&self) -> String {
        match self {
            Self::NoPolicy { directory } => {
                format!("write \"{}\" = \"lock\" under [trust.directories]", directory.display())
            }
            Self::FromEnvironment { directory, policy } => format!(
                "write \"{}\" = \"{}\" under [trust.directories], or use --plugin-dir",
                directory.display(),
                policy.name()
            ),
            Self::NoLock { .. } | Self::NotLocked { .. } => {
                "if you trust this file, run `keyway plugin lock --config FILE`".to_owned()
            }
            Self::ReadLock { path, .. } => {
                format!("let this program's user read {}, and only its owner write it", path.display())
            }
            Self::MalformedLock { path, .. } => {
                format!("mend {}, or remove it and run `keyway plugin lock --config FILE`", path.display())
            }
            Self::NoSignature { .. } => {
                "get the .minisig file from where the library came, or sign it with `keyway plugin sign`"
                    .to_owned()
            }
            Self::ReadSignature { path, .. } => format!("let this program's user read {}", path.display()),
            Self::BadSignature { .. } => {
                "get the library and its signature again from where they came".to_owned()
            }
            Self::NoKey { plugin } => {
                format!(
                    "name the signer under [trust.keys.NAME] with public_key and plugins = [\"{plugin}\"]"
                )
            }
            Self::NoOwners { .. } | Self::Unjudged { .. } => {
                "use the policy \"lock\" or \"signed\"".to_owned()
            }
            Self::LeadsOut { .. } => {
                "put the file itself into the directory, or use the policy \"lock\"".to_owned()
            }
            Self::OthersWrite { path, .. } => format!("chmod go-w {}", path.display()),
            Self::OthersReplace { path, .. } => {
                format!("chmod go-w {0}, and let root or this program's user own it", path.display())
            }
        }
    }
}
