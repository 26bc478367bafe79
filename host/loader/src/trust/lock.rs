//! The policy `lock`: the library's digest stands in a file that an operator has written next to the
//! configuration.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::TrustError;
use crate::describe::Described;

/// The contents of `keyway.lock`: every plugin, version and platform that may run, so that one file serves
/// all machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    /// One entry for each library.
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

impl LockFile {
    /// Reads a lock file.
    ///
    /// # Errors
    ///
    /// If there is none, if every user may write it, or if it cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let text = read(path).map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound => TrustError::NoLock { path },
                _ => TrustError::ReadLock { path, source },
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

    /// Replaces the entry of the same plugin, version and platform, or adds one; answers the one that was
    /// replaced.
    pub fn insert(&mut self, described: &Described) -> Option<LockedPlugin> {
        let new = LockedPlugin::new(described);
        let key = |entry: &LockedPlugin| (entry.name.clone(), entry.version.clone(), entry.target.clone());
        let replaced = self.plugin.iter().position(|old| key(old) == key(&new));
        let replaced = replaced.map(|index| self.plugin.remove(index));
        self.plugin.push(new);
        self.plugin.sort_by_key(key);
        replaced
    }

    /// Removes the entries that `matches` accepts; answers them.
    pub fn remove(&mut self, matches: impl Fn(&LockedPlugin) -> bool) -> Vec<LockedPlugin> {
        let (removed, kept) = std::mem::take(&mut self.plugin).into_iter().partition(|entry| matches(entry));
        self.plugin = kept;
        removed
    }

    pub(super) fn verify(&self, path: &Path, described: &Described) -> Result<(), TrustError> {
        let wanted = LockedPlugin::new(described);
        if self.plugin.contains(&wanted) {
            return Ok(());
        }
        let known = self.plugin.iter().filter(|entry| entry.name == wanted.name);
        let known: Vec<String> = known
            .map(|entry| {
                format!("{} {} for {} has {}", entry.name, entry.version, entry.target, entry.sha256)
            })
            .collect();
        Err(TrustError::NotLocked {
            plugin: format!("{} {} for {}", wanted.name, wanted.version, wanted.target),
            path: path.to_owned(),
            digest: described.staged.digest,
            known: if known.is_empty() { String::new() } else { format!(" (locked: {})", known.join(", ")) },
        })
    }
}

/// A lock that every user may write is refused.
fn read(path: &Path) -> io::Result<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
        if mode & 0o002 != 0 {
            let message = format!("every user may write it (mode {mode:o})");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
    }
    fs::read_to_string(path)
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
