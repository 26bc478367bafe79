//! Stage 5: may this library run here.
//!
//! The policy `lock` compares the staged digest with a file of digests that an operator has written beside the
//! configuration. Nothing configured is a refusal, never a pass.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Digest, describe::Described};

/// Which libraries may run.
#[derive(Debug, Clone)]
pub enum TrustPolicy {
    /// Those whose digest stands in this lock file.
    Lock(PathBuf),
}

/// The contents of `keyway.lock`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    /// One entry for each library: plugin, version and platform.
    #[serde(default)]
    pub plugin: Vec<LockedPlugin>,
}

/// One library that may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPlugin {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: semver::Version,
    /// The interface that it speaks.
    pub interface: semver::Version,
    /// The platform that it is built for.
    pub target: String,
    /// The library's SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Why a library may not run.
#[derive(Debug, Error)]
pub enum TrustError {
    /// There is no lock file.
    #[error(
        "there is no lock file {}, and the trust policy \"lock\" refuses what is not in it; \
         write it with `keyway plugin lock --config FILE`",
        path.display()
    )]
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
    #[error(
        "{plugin} is not in {}: its SHA-256 is {digest}{known}; if you trust this file, run \
         `keyway plugin lock --config FILE`",
        path.display()
    )]
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
}

impl TrustPolicy {
    /// Lets a described library pass, or says why not.
    ///
    /// # Errors
    ///
    /// See [`TrustError`].
    pub fn verify(&self, described: &Described) -> Result<(), TrustError> {
        match self {
            Self::Lock(path) => LockFile::read(path)?.verify(path, described),
        }
    }
}

impl LockFile {
    /// Reads a lock file.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let text = fs::read_to_string(path).map_err(|source| {
            let path = path.to_owned();
            if source.kind() == io::ErrorKind::NotFound {
                TrustError::NoLock { path }
            } else {
                TrustError::ReadLock { path, source }
            }
        })?;
        toml::from_str(&text).map_err(|error| TrustError::MalformedLock {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let entries = toml::to_string(self).expect("a lock file holds only texts");
        format!(
            "# The plugins that may run here. Written by `keyway plugin lock`; review changes to it.\n\n{entries}"
        )
    }

    /// Replaces the entry of the same plugin, version and platform, or adds one.
    pub fn insert(&mut self, described: &Described) {
        let new = LockedPlugin::new(described);
        self.plugin
            .retain(|old| (&old.name, &old.version, &old.target) != (&new.name, &new.version, &new.target));
        self.plugin.push(new);
        self.plugin.sort_by(|a, b| (&a.name, &a.version, &a.target).cmp(&(&b.name, &b.version, &b.target)));
    }

    fn verify(&self, path: &Path, described: &Described) -> Result<(), TrustError> {
        let wanted = LockedPlugin::new(described);
        if self.plugin.contains(&wanted) {
            return Ok(());
        }
        let known: Vec<String> = self
            .plugin
            .iter()
            .filter(|entry| entry.name == wanted.name)
            .map(|entry| {
                format!("{} {} for {} has {}", entry.name, entry.version, entry.target, entry.sha256)
            })
            .collect();
        let known = if known.is_empty() { String::new() } else { format!(" (locked: {})", known.join(", ")) };
        Err(TrustError::NotLocked {
            plugin: format!("{} {} for {}", wanted.name, wanted.version, wanted.target),
            path: path.to_owned(),
            digest: described.staged.digest,
            known,
        })
    }
}

impl LockedPlugin {
    fn new(described: &Described) -> Self {
        let descriptor = &described.descriptor;
        Self {
            name: descriptor.name.clone(),
            version: descriptor.version.clone(),
            interface: descriptor.interface.clone(),
            target: descriptor.target(),
            sha256: described.staged.digest.to_string(),
        }
    }
}
