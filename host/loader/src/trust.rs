//! Stage 5: may this library run here.
//!
//! Each directory has a policy: its own, or the one for all that have none. Nothing configured is a refusal, never a pass;
//! and what the environment names is never judged by who owns it, nor left unchecked, unless the configuration names that
//! directory too: whoever sets a variable could otherwise choose the policy.

pub mod lock;
mod owner;
pub mod signed;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

pub use self::{
    lock::{LockFile, LockedPlugin},
    signed::TrustedKey,
};
use crate::{Digest, Origin, SearchPath, describe::Described, report::Fix};

/// How it is decided whether a library may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Its digest stands in the lock file.
    Lock,
    /// A key of the configuration has signed it.
    Signed,
    /// Nobody but root and this program's user could have written it.
    Owner,
    /// Not at all. For development.
    Unchecked,
}

impl Policy {
    /// The word for it in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Signed => "signed",
            Self::Owner => "owner",
            Self::Unchecked => "none",
        }
    }

    /// The policy of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Lock, Self::Signed, Self::Owner, Self::Unchecked]
            .into_iter()
            .find(|policy| policy.name() == name)
    }
}

/// Which libraries may run. The default lets none.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The policy of directories that have none of their own.
    pub policy: Option<Policy>,
    /// The policies of single directories, by absolute path.
    pub directories: Vec<(PathBuf, Policy)>,
    /// The lock file.
    pub lock_file: PathBuf,
    /// The keys whose signatures are believed.
    pub keys: Vec<TrustedKey>,
}

/// Why a library may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// The lock file has its digest.
    Locked,
    /// This key has signed it.
    Signed(String),
    /// Only root or this program's user could have written it.
    Owned,
    /// Nobody asked.
    Unchecked,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("locked"),
            Self::Signed(key) => write!(f, "signed by {key}"),
            Self::Owned => f.write_str("owned"),
            Self::Unchecked => f.write_str("trust SKIPPED (policy none)"),
        }
    }
}

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
                format!("let this program's user read {}, and nobody but its owner write it", path.display())
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

impl Trust {
    /// What stands in a lock file may run, and nothing else.
    pub fn lock(lock_file: PathBuf) -> Self {
        Self { policy: Some(Policy::Lock), lock_file, ..Self::default() }
    }

    /// The policy of a directory.
    ///
    /// # Errors
    ///
    /// `NoPolicy`, and `FromEnvironment` where the environment named the directory and its policy would ask too little.
    pub fn policy_of(&self, place: &SearchPath) -> Result<Policy, TrustError> {
        self.policy_at(place, place.directory.canonicalize().ok().as_deref())
    }

    /// `whole` is the directory that was opened, without links in its path: what the name leads to by now does not count.
    fn policy_at(&self, place: &SearchPath, whole: Option<&Path>) -> Result<Policy, TrustError> {
        if let Some(policy) = self.own_policy(&place.directory, whole) {
            return Ok(policy);
        }
        let directory = place.directory.clone();
        let policy = self.policy.ok_or(TrustError::NoPolicy { directory: directory.clone() })?;
        let from_environment = matches!(place.origin, Origin::Environment | Origin::User);
        if from_environment && matches!(policy, Policy::Owner | Policy::Unchecked) {
            return Err(TrustError::FromEnvironment { directory, policy });
        }
        Ok(policy)
    }

    fn own_policy(&self, directory: &Path, whole: Option<&Path>) -> Option<Policy> {
        let same = |named: &Path| {
            named == directory
                || named.canonicalize().is_ok_and(|named| named == directory || whole == Some(&named))
        };
        self.directories.iter().find(|(named, _)| same(named)).map(|(_, policy)| *policy)
    }

    /// Whether any directory is left unchecked.
    pub fn has_unchecked(&self) -> bool {
        let mut policies = self.policy.into_iter().chain(self.directories.iter().map(|(_, policy)| *policy));
        policies.any(|policy| policy == Policy::Unchecked)
    }

    /// Lets a described library pass that was found in `place`, or says why not.
    ///
    /// # Errors
    ///
    /// See [`TrustError`].
    pub fn verify(&self, described: &Described, place: &SearchPath) -> Result<Grant, TrustError> {
        let whole = described.staged.provenance.directory.as_deref();
        match self.policy_at(place, whole)? {
            Policy::Lock => {
                LockFile::read(&self.lock_file)?.verify(&self.lock_file, described)?;
                Ok(Grant::Locked)
            }
            Policy::Signed => signed::verify(&self.keys, described).map(Grant::Signed),
            Policy::Owner => owner::verify(described).map(|()| Grant::Owned),
            Policy::Unchecked => Ok(Grant::Unchecked),
        }
    }
}
