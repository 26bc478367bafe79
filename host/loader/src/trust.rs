//! Stage 5: may this library run here.
//!
//! Each directory has a policy: its own, or the common one. Without any policy, the answer is a refusal,
//! never a pass. A directory that the environment names is never judged by owner, nor left unchecked, unless
//! the configuration names it too. Otherwise a user who sets a variable could choose the policy.

mod error;
pub mod lock;
mod owner;
mod policy;
pub mod signed;

use std::{
    fmt,
    path::{Path, PathBuf},
};

pub use self::{
    error::TrustError,
    lock::{LockFile, LockedPlugin},
    policy::Policy,
    signed::TrustedKey,
};
use crate::{Origin, SearchPath, describe::Described};

/// Which libraries may run. The default lets none.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The policy of all directories that are not named below.
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
    /// The policy checks nothing.
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

impl Trust {
    /// What stands in a lock file may run, and nothing else.
    pub fn lock(lock_file: PathBuf) -> Self {
        Self { policy: Some(Policy::Lock), lock_file, ..Self::default() }
    }

    /// The policy of a directory.
    ///
    /// # Errors
    ///
    /// `NoPolicy`, and `FromEnvironment` if the environment named the directory and its policy would ask too
    /// little.
    pub fn policy_of(&self, place: &SearchPath) -> Result<Policy, TrustError> {
        self.policy_at(place, place.directory.canonicalize().ok().as_deref())
    }

    /// `whole` is the directory that was opened, without links in its path: what the name leads to by now
    /// does not count.
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
    /// Which rule of the policy the library breaks: not in the lock file, no signature or no good one, a file
    /// or a directory that others may change, or no policy.
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
