//! The policies of a cluster: a record for each written one, and the compiled sets, kept until one changes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyway_common::clock;
use keyway_crypto::envelope::RecordKind;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    Acl, DEFAULT, PathRule, Policy, RESPONSE_WRAPPING, ROOT, builtin, parse::parse, spike::SpikePolicy,
};
use crate::system::{Next, Records, SystemError};

const PREFIX: &str = "policy/";
/// The most sets of policies that are kept compiled.
const MAX_COMPILED: usize = 4_096;

/// Why a policy could not be read or written.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// Its record.
    #[error(transparent)]
    System(#[from] SystemError),
    /// It cannot be understood.
    #[error("policy {name:?}: {reason}")]
    Malformed {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
    /// The server ended.
    #[error("the change of the policy was interrupted; it may have happened")]
    Interrupted,
    /// Each write of this policy must name the version that it replaces.
    #[error("check-and-set parameter required for this call")]
    CasRequired,
    /// The writer takes it for absent.
    #[error("check-and-set parameter set to -1 on existing entry")]
    CasExists,
    /// The writer takes it for another version.
    #[error("check-and-set parameter {given} did not match the current version {current}")]
    CasMismatch {
        /// The writer's version.
        given: i64,
        /// The version that is there.
        current: u64,
    },
    /// `root` and `default` are always there.
    #[error("cannot {reason} {name:?} policy")]
    Reserved {
        /// Which.
        name: String,
        /// What cannot be done with it.
        reason: &'static str,
    },
}

/// A policy as its author wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyText {
    /// Rules for paths, in HCL or JSON.
    Acl(String),
    /// One of SPIKE's.
    Spike(SpikePolicy),
}

/// A policy as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Kind")]
pub struct Stored {
    /// What its author wrote.
    pub policy: PolicyText,
    /// How often it was written; zero for one that cannot be written, and for one that was written before
    /// versions were counted.
    pub version: u64,
    /// When it was written last. Empty for a built-in policy, and for one that was written before this was noted.
    pub modified: String,
    /// Whether each write must name the version that it replaces.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cas_required: bool,
}

/// The two forms of the record.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kind {
    Counted {
        policy: PolicyText,
        version: u64,
        modified: String,
        #[serde(default)]
        cas_required: bool,
    },
    /// As it was before versions were counted.
    Bare(PolicyText),
}

impl From<Kind> for Stored {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Counted { policy, version, modified, cas_required } => {
                Self { policy, version, modified, cas_required }
            }
            Kind::Bare(policy) => Self::bare(policy),
        }
    }
}

impl Stored {
    /// The built-in policy that can be written: `default`, in its first version.
    fn builtin(name: &str) -> Option<Self> {
        let policy = PolicyText::Acl(builtin::DEFAULT_TEXT.to_owned());
        (name == DEFAULT).then(|| Self { version: 1, ..Self::bare(policy) })
    }

    fn bare(policy: PolicyText) -> Self {
        Self { policy, version: 0, modified: String::new(), cas_required: false }
    }
}

/// What a writer says of the policy that is there already.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cas {
    /// The version that is replaced; zero or -1 for none.
    pub version: Option<i64>,
    /// Whether later writes must say so too; none leaves it as it is.
    pub required: Option<bool>,
}

impl Cas {
    /// Whether the write may replace this, in OpenBao's words if not.
    fn check(self, present: Option<&Stored>) -> Result<(), PolicyError> {
        let required = self.required.or(present.map(|stored| stored.cas_required)).unwrap_or_default();
        let version = present.map_or(0, |stored| stored.version);
        match self.version {
            None if required => Err(PolicyError::CasRequired),
            Some(-1) if present.is_some() => Err(PolicyError::CasExists),
            Some(given) if given != -1 && u64::try_from(given) != Ok(version) => {
                Err(PolicyError::CasMismatch { given, current: version })
            }
            _ => Ok(()),
        }
    }
}

/// The policies of an unsealed server.
#[derive(Default)]
pub struct Policies {
    compiled: Mutex<Compiled>,
}

#[derive(Default)]
struct Compiled {
    /// Counts the changes, so that a set that was read before a change is not kept after it.
    changes: u64,
    /// Goes on with each set that is kept.
    clock: u64,
    acls: HashMap<Vec<String>, CachedAcl>,
}

/// What these policies allow.
#[derive(Clone)]
pub struct CachedAcl {
    /// The rules.
    pub acl: Arc<Acl>,
    /// Since when they are, by [`Policies::clock`].
    pub since: u64,
}

impl PolicyText {
    /// What it means.
    ///
    /// # Errors
    ///
    /// A line that says what the problem is.
    pub fn rules(&self) -> Result<Vec<PathRule>, String> {
        match self {
            Self::Acl(text) => parse(text),
            Self::Spike(policy) => policy.rules(),
        }
    }

    /// As text.
    pub fn text(&self) -> String {
        match self {
            Self::Acl(text) => text.clone(),
            Self::Spike(policy) => policy.to_acl_text(),
        }
    }
}

impl Policies {
    /// A time. A set that was kept by then was read before, and has not changed since as far as is known.
    pub fn clock(&self) -> u64 {
        self.compiled().clock
    }

    /// The rules of these policies together. Policies that do not exist add no rule.
    ///
    /// # Errors
    ///
    /// `System` if a policy's record cannot be read or opened; `Malformed` if its text cannot be understood.
    pub async fn acl(&self, records: Records<'_>, names: &[String]) -> Result<CachedAcl, PolicyError> {
        let changes = {
            let compiled = self.compiled();
            if let Some(kept) = compiled.acls.get(names) {
                return Ok(kept.clone());
            }
            compiled.changes
        };
        let mut policies = Vec::with_capacity(names.len());
        for name in names {
            let rules = match self.get(records, name).await? {
                _ if name == ROOT => Vec::new(),
                None => continue,
                Some(stored) => stored
                    .policy
                    .rules()
                    .map_err(|reason| PolicyError::Malformed { name: name.clone(), reason })?,
            };
            policies.push(Arc::new(Policy { name: name.clone(), rules }));
        }
        let acl = Arc::new(Acl::new(&policies));
        let mut compiled = self.compiled();
        compiled.clock += 1;
        let kept = CachedAcl { acl, since: compiled.clock };
        if compiled.changes == changes {
            if compiled.acls.len() >= MAX_COMPILED {
                compiled.acls.clear();
            }
            compiled.acls.insert(names.to_vec(), kept.clone());
        }
        Ok(kept)
    }

    /// A policy as it was written.
    ///
    /// # Errors
    ///
    /// `System` if the policy's record cannot be read or opened.
    pub async fn get(&self, records: Records<'_>, name: &str) -> Result<Option<Stored>, PolicyError> {
        let builtin = |text: &str| Some(Stored::bare(PolicyText::Acl(text.to_owned())));
        match name {
            ROOT => return Ok(builtin("")),
            RESPONSE_WRAPPING => return Ok(builtin(builtin::RESPONSE_WRAPPING_TEXT)),
            _ => {}
        }
        let held = records.get::<Stored>(RecordKind::Policy, &key(name)).await?;
        Ok(held.map(|held| held.value).or_else(|| Stored::builtin(name)))
    }

    /// Writes a policy; from then on it counts for every request that begins.
    ///
    /// # Errors
    ///
    /// `Malformed` for a text that is not a policy; `Reserved` for `root` and `response-wrapping`;
    /// `CasRequired`, `CasExists` or `CasMismatch`; `System` if the record cannot be read or written.
    pub async fn put(
        &self,
        records: Records<'_>,
        name: &str,
        written: &PolicyText,
        cas: Cas,
    ) -> Result<(), PolicyError> {
        if matches!(name, ROOT | RESPONSE_WRAPPING) {
            return Err(PolicyError::Reserved { name: name.to_owned(), reason: "update" });
        }
        written.rules().map_err(|reason| PolicyError::Malformed { name: name.to_owned(), reason })?;
        let edit = |present: Option<Stored>| {
            let present = present.or_else(|| Stored::builtin(name));
            cas.check(present.as_ref())?;
            let next = Stored {
                policy: written.clone(),
                version: present.as_ref().map_or(0, |stored| stored.version) + 1,
                modified: clock::now(),
                cas_required: cas.required.or(present.map(|stored| stored.cas_required)).unwrap_or_default(),
            };
            Ok((Next::Put(next), ()))
        };
        let put: Result<(), PolicyError> =
            records.kept_by_hosts().change(RecordKind::Policy, &key(name), edit).await;
        // Even if it failed: it may have happened.
        self.forget();
        put
    }

    /// Removes a policy; from then on it allows nothing.
    ///
    /// # Errors
    ///
    /// `Reserved` for `root`, `default` and `response-wrapping`; `System` if the record cannot be removed.
    pub async fn remove(&self, records: Records<'_>, name: &str) -> Result<(), PolicyError> {
        if matches!(name, ROOT | DEFAULT | RESPONSE_WRAPPING) {
            return Err(PolicyError::Reserved { name: name.to_owned(), reason: "delete" });
        }
        let removed = records.kept_by_hosts().remove(&key(name)).await;
        self.forget();
        Ok(removed?)
    }

    /// The names of all policies, in order.
    ///
    /// # Errors
    ///
    /// `System` if the store cannot list the keys.
    pub async fn names(&self, records: Records<'_>) -> Result<Vec<String>, PolicyError> {
        let written = records.names(PREFIX.as_bytes()).await?;
        let mut names: Vec<String> =
            written.into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()).collect();
        names.extend([DEFAULT, ROOT].map(str::to_owned));
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Forgets what was compiled.
    pub fn forget(&self) {
        let mut compiled = self.compiled();
        compiled.changes += 1;
        compiled.acls.clear();
    }

    fn compiled(&self) -> MutexGuard<'_, Compiled> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(name: &str) -> Vec<u8> {
    format!("{PREFIX}{name}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_of_before_versions_were_counted_are_read() {
        let old: Stored = serde_json::from_str(r#"{"acl":"path \"a\" {}"}"#).unwrap();
        assert_eq!(old, Stored::bare(PolicyText::Acl("path \"a\" {}".to_owned())));
        let new =
            Stored { version: 3, modified: "2026-01-01T00:00:00Z".to_owned(), cas_required: true, ..old };
        let text = serde_json::to_string(&new).unwrap();
        assert_eq!(serde_json::from_str::<Stored>(&text).unwrap(), new);
    }
}
