//! The policies of a cluster: a record for each that was written, and what is compiled of them, kept until one changes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keyway_loader::Condition;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    Acl, DEFAULT, PathRule, Policy, RESPONSE_WRAPPING, ROOT, builtin, parse::parse, spike::SpikePolicy,
};
use crate::{
    crypto::envelope::RecordKind,
    system::{New, Records, SystemError},
};

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
pub enum Written {
    /// Rules for paths, in HCL or JSON.
    Acl(String),
    /// One of SPIKE's.
    Spike(SpikePolicy),
}

/// The policies of an unsealed server.
#[derive(Default)]
pub struct Policies {
    compiled: Mutex<Compiled>,
}

#[derive(Default)]
struct Compiled {
    /// Counts the changes, so that nothing that was read before one is kept behind it.
    changes: u64,
    /// Goes on with each set that is kept.
    clock: u64,
    acls: HashMap<Vec<String>, Kept>,
}

/// What these policies allow.
#[derive(Clone)]
pub struct Kept {
    /// The rules.
    pub acl: Arc<Acl>,
    /// Since when they are, by [`Policies::clock`].
    pub since: u64,
}

impl Written {
    /// What it means.
    ///
    /// # Errors
    ///
    /// A line that says what is wrong with it.
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
    /// A time: what is kept since then or before was read before then, and has not changed since as far as is known.
    pub fn clock(&self) -> u64 {
        self.compiled().clock
    }

    /// The rules of these policies together. Those that are not there say nothing.
    ///
    /// # Errors
    ///
    /// See [`PolicyError`].
    pub async fn acl(&self, records: Records<'_>, names: &[String]) -> Result<Kept, PolicyError> {
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
                Some(written) => {
                    written.rules().map_err(|reason| PolicyError::Malformed { name: name.clone(), reason })?
                }
            };
            policies.push(Arc::new(Policy { name: name.clone(), rules }));
        }
        let acl = Arc::new(Acl::new(&policies));
        let mut compiled = self.compiled();
        compiled.clock += 1;
        let kept = Kept { acl, since: compiled.clock };
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
    /// See [`PolicyError`].
    pub async fn get(&self, records: Records<'_>, name: &str) -> Result<Option<Written>, PolicyError> {
        match name {
            ROOT => return Ok(Some(Written::Acl(String::new()))),
            RESPONSE_WRAPPING => return Ok(Some(Written::Acl(builtin::RESPONSE_WRAPPING_TEXT.to_owned()))),
            _ => {}
        }
        let held = records.get::<Written>(RecordKind::Policy, &key(name)).await?;
        let builtin = || (name == DEFAULT).then(|| Written::Acl(builtin::DEFAULT_TEXT.to_owned()));
        Ok(held.map(|held| held.value).or_else(builtin))
    }

    /// Writes a policy; from then on it counts for every request that begins.
    ///
    /// # Errors
    ///
    /// See [`PolicyError`].
    pub async fn put(&self, records: Records<'_>, name: &str, written: &Written) -> Result<(), PolicyError> {
        if matches!(name, ROOT | RESPONSE_WRAPPING) {
            return Err(PolicyError::Reserved { name: name.to_owned(), reason: "update" });
        }
        written.rules().map_err(|reason| PolicyError::Malformed { name: name.to_owned(), reason })?;
        let new = New { kind: RecordKind::Policy, key: &key(name), value: written };
        let put = records.kept_by_hosts().put(&new, Condition::Any).await;
        // Even where it failed: it may have happened.
        self.forget();
        put.map(|_| ()).map_err(PolicyError::from)
    }

    /// Removes a policy; from then on it allows nothing.
    ///
    /// # Errors
    ///
    /// See [`PolicyError`].
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
    /// See [`PolicyError`].
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
