//! The table itself: which mounts there are, and which may be added.

use std::collections::{BTreeMap, BTreeSet};

use keyway_common::clock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    MountError,
    auth::{AuthTable, Disabled, Tune},
    path::MountPath,
};
use crate::secrets::Settings;

/// The kind of mount that there is.
pub const SECRETS: &str = "secrets";

/// A mount's section in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountConfig {
    /// What kind of secrets: `secrets`.
    #[serde(default = "secrets_engine")]
    pub engine: String,
    /// On which backend.
    pub backend: String,
}

fn secrets_engine() -> String {
    SECRETS.to_owned()
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Its identity, which outlives a change of path.
    pub uuid: Uuid,
    /// A short name for it in logs.
    pub accessor: String,
    /// What kind of secrets it holds: `secrets`.
    pub engine: String,
    /// The backend that stores it.
    pub backend: String,
    /// When it was made.
    pub created: String,
    /// What it is for, in its owner's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it says about versions.
    #[serde(default, skip_serializing_if = "Settings::is_default")]
    pub settings: Settings,
    /// Which of Vault's key-value engines it is: 1 has no versions, 2 has.
    #[serde(default = "kv_version_2", skip_serializing_if = "is_kv_version_2")]
    pub kv_version: u8,
    /// Whether its secrets are being given versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// Its settings for leases and listings.
    #[serde(default, skip_serializing_if = "is_default_tune")]
    pub tune: Tune,
    /// Where it was before it was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<String>,
}

/// A change of a mount from KV version 1 to 2, which goes on in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// When it began, in Unix seconds: writes of version 1 that were under way may end after that.
    pub since: u64,
    /// Whether all secrets that were there have versions, and the mount serves again.
    pub serves: bool,
}

fn kv_version_2() -> u8 {
    2
}

fn is_kv_version_2(version: &u8) -> bool {
    *version == 2
}

fn is_default_tune(tune: &Tune) -> bool {
    *tune == Tune::default()
}

impl Mount {
    /// A new mount on a backend.
    pub fn new(backend: &str) -> Self {
        let uuid = Uuid::new_v4();
        let short = uuid.simple().to_string().chars().take(8).collect::<String>();
        Self {
            uuid,
            accessor: format!("kv_{short}"),
            engine: SECRETS.to_owned(),
            backend: backend.to_owned(),
            created: clock::now(),
            description: String::new(),
            settings: Settings::default(),
            kv_version: 2,
            upgrade: None,
            tune: Tune::default(),
            moved_from: None,
        }
    }

    /// The keyspace that holds its records.
    pub fn keyspace(&self) -> String {
        keyspace(self.uuid)
    }
}

/// A mount that was taken away, and whose keyspace is still to be dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaving {
    /// The mount's identity.
    pub uuid: Uuid,
    /// The backend that stores it.
    pub backend: String,
    /// Where it was mounted.
    pub path: String,
    /// When it was taken away, in Unix seconds: writes that were under way may end after that.
    #[serde(default)]
    pub since: u64,
}

impl Leaving {
    /// The keyspace that held its records.
    pub fn keyspace(&self) -> String {
        keyspace(self.uuid)
    }
}

fn keyspace(mount: Uuid) -> String {
    format!("mount-{mount}")
}

/// All mounts by path, without slashes at the ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountTable {
    mounts: BTreeMap<String, Mount>,
    #[serde(default, skip_serializing_if = "AuthTable::is_empty")]
    pub(super) auth: AuthTable,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) disabled: Vec<Disabled>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    leaving: Vec<Leaving>,
    /// Backends that have held mounts, and whose markers must therefore be there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    used: BTreeSet<String>,
}

impl MountTable {
    /// The mounts by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Mount)> {
        self.mounts.iter().map(|(path, mount)| (path.as_str(), mount))
    }

    /// Mounts that were taken away, and are not gone yet.
    pub fn leaving(&self) -> &[Leaving] {
        &self.leaving
    }

    /// Whether a backend was marked as this cluster's.
    pub fn has_used(&self, backend: &str) -> bool {
        self.used.contains(backend)
    }

    /// Writes down that a backend is marked as this cluster's.
    pub(crate) fn mark_used(&mut self, backend: &str) {
        self.used.insert(backend.to_owned());
    }

    /// The mount at exactly this path.
    pub fn get(&self, path: &str) -> Option<&Mount> {
        self.mounts.get(path)
    }

    /// As [`get`](Self::get), to change it.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Mount> {
        self.mounts.get_mut(path)
    }

    /// The mount with the longest path that `path` begins with, and the rest of `path`.
    pub fn resolve<'p>(&self, path: &'p str) -> Option<(&str, &Mount, &'p str)> {
        let behind = |mount: &str| -> Option<&'p str> {
            let rest = path.strip_prefix(mount)?;
            if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
        };
        self.mounts
            .iter()
            .filter_map(|(name, mount)| behind(name).map(|rest| (name.as_str(), mount, rest)))
            .max_by_key(|(name, ..)| name.len())
    }

    /// Adds a mount.
    ///
    /// # Errors
    ///
    /// `InUse` if the path is taken, or one of the two lies inside the other.
    pub fn mount(&mut self, path: &MountPath, mount: Mount) -> Result<(), MountError> {
        self.check_free(path)?;
        self.mounts.insert(path.as_str().to_owned(), mount);
        Ok(())
    }

    /// Gives a mount another path.
    ///
    /// # Errors
    ///
    /// `Gone`, and as [`mount`](Self::mount).
    pub fn move_mount(&mut self, from: &str, to: &MountPath) -> Result<Uuid, MountError> {
        let gone = || MountError::Gone { path: from.to_owned() };
        if !self.mounts.contains_key(from) {
            return Err(gone());
        }
        // The mount itself is in the way, too.
        self.check_free(to)?;
        let mut mount = self.mounts.remove(from).ok_or_else(gone)?;
        let uuid = mount.uuid;
        mount.moved_from = Some(from.to_owned());
        self.mounts.insert(to.as_str().to_owned(), mount);
        Ok(uuid)
    }

    fn check_free(&self, path: &MountPath) -> Result<(), MountError> {
        match path.overlapped_by(self.mounts.keys().map(String::as_str)) {
            Some(other) => Err(MountError::InUse { path: other.to_owned() }),
            None => Ok(()),
        }
    }

    /// Makes a mount one of KV version 2, and has its secrets given versions, unless it is one already.
    ///
    /// # Errors
    ///
    /// `Gone`.
    pub(crate) fn begin_upgrade(&mut self, path: &str, since: u64) -> Result<(), MountError> {
        let gone = || MountError::Gone { path: path.to_owned() };
        let mount = self.mounts.get_mut(path).ok_or_else(gone)?;
        if mount.kv_version == 1 {
            mount.kv_version = 2;
            mount.upgrade = Some(Upgrade { since, serves: false });
        }
        Ok(())
    }

    /// Takes an upgrade of a mount to its next state, unless that is gone or the upgrade ended.
    pub(crate) fn set_upgrade(&mut self, mount: Uuid, upgrade: Option<Upgrade>) {
        if let Some(mount) = self.mounts.values_mut().find(|known| known.uuid == mount) {
            mount.upgrade = mount.upgrade.and(upgrade);
        }
    }

    /// Takes a mount away; its keyspace is dropped later. Whether there was one.
    pub fn unmount(&mut self, path: &str) -> bool {
        let Some(Mount { uuid, backend, .. }) = self.mounts.remove(path) else { return false };
        let since = clock::unix_seconds();
        self.leaving.push(Leaving { uuid, backend, path: path.to_owned(), since });
        true
    }

    /// Forgets a mount whose keyspace was dropped; whether it was the last thing of this cluster on its backend.
    pub fn forget(&mut self, leaving: &Leaving) -> bool {
        self.leaving.retain(|known| known.uuid != leaving.uuid);
        let backend = &leaving.backend;
        let is_in_use = self.mounts.values().any(|mount| mount.backend == *backend)
            || self.leaving.iter().any(|leaving| leaving.backend == *backend);
        !is_in_use && self.used.remove(backend)
    }

    /// Adds the configured mounts that are missing.
    pub(super) fn add_missing(
        &mut self,
        configured: &BTreeMap<String, MountConfig>,
    ) -> Result<(), MountError> {
        for (path, config) in configured {
            match self.mounts.get(path) {
                Some(mount) if mount.backend != config.backend => {
                    return Err(MountError::Moved {
                        path: path.clone(),
                        stored: mount.backend.clone(),
                        configured: config.backend.clone(),
                    });
                }
                Some(_) => {}
                None => {
                    let path = MountPath::parse(path).map_err(|reason| MountError::BadPath { reason })?;
                    self.mount(&path, Mount::new(&config.backend))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(paths: &[&str]) -> MountTable {
        let mounts = paths.iter().map(|path| ((*path).to_owned(), Mount::new("main"))).collect();
        MountTable { mounts, ..MountTable::default() }
    }

    #[test]
    fn longest_mount_wins_and_names_are_not_mistaken_for_prefixes() {
        let table = table(&["secret", "secret/team", "a b/c"]);
        let resolved = |path| table.resolve(path).map(|(mount, _, rest)| (mount, rest));
        assert_eq!(resolved("secret/data/a"), Some(("secret", "data/a")));
        assert_eq!(resolved("secret/team/data/a"), Some(("secret/team", "data/a")));
        assert_eq!(resolved("a b/c/data/x"), Some(("a b/c", "data/x")));
        assert_eq!(resolved("secret"), Some(("secret", "")));
        assert_eq!(resolved("secrets/data/a"), None);
    }

    #[test]
    fn configured_mount_on_another_backend_is_refused() {
        let mut table = table(&["secret"]);
        let moved = MountConfig { engine: SECRETS.into(), backend: "other".into() };
        let error = table.add_missing(&BTreeMap::from([("secret".to_owned(), moved)])).unwrap_err();
        assert!(error.to_string().contains("migration"), "{error}");
    }

    #[test]
    fn path_is_mounted_once_and_free_again_after_it_was_taken_away() {
        let mut table = table(&["secret"]);
        let path = MountPath::parse("secret").unwrap();
        assert!(matches!(table.mount(&path, Mount::new("main")), Err(MountError::InUse { .. })));
        table.mark_used("main");
        let old = table.get("secret").unwrap().uuid;
        assert!(table.unmount("secret") && !table.unmount("secret"));
        table.mount(&path, Mount::new("main")).unwrap();
        assert_ne!(table.get("secret").unwrap().uuid, old);
        assert_eq!(table.leaving()[0].uuid, old);
        let leaving = table.leaving()[0].clone();
        assert!(!table.forget(&leaving) && table.has_used("main"), "there is another mount on it");
        assert!(table.unmount("secret"));
        let leaving = table.leaving()[0].clone();
        assert!(table.forget(&leaving) && !table.has_used("main"));
        assert!(table.leaving().is_empty());
    }

    #[test]
    fn mount_inside_another_is_refused_in_either_order_and_when_moved() {
        for (there, new) in [("secret", "secret/team"), ("secret/team/a", "secret"), ("secret", "secret")] {
            let mut table = table(&[there, "other"]);
            let path = MountPath::parse(new).unwrap();
            let in_use = |refused: Option<MountError>| {
                let text = refused.unwrap().to_string();
                assert_eq!(text, format!("path is already in use at {there}/"), "{new}");
            };
            in_use(table.mount(&path, Mount::new("main")).err());
            in_use(table.move_mount("other", &path).err());
            assert!(table.get("other").is_some() && table.iter().count() == 2);
        }
        let mut table = table(&["secret"]);
        assert!(table.move_mount("secret", &MountPath::parse("secret/inside").unwrap()).is_err());
        table.move_mount("secret", &MountPath::parse("secrets").unwrap()).unwrap();
        assert_eq!(table.get("secrets").unwrap().moved_from.as_deref(), Some("secret"));
    }
}
