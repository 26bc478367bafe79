//! The table of mounts: which path of the API belongs to which keyspace of which backend.

use std::collections::BTreeMap;

use keyway_loader::{Condition, Key, Put, Version};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::{
    barrier::{Barrier, BarrierError},
    clock,
    config::MountConfig,
    crypto::{
        envelope::{OpenError, RecordKind},
        keyring::Record,
    },
    seal::SYSTEM_KEYSPACE,
    storage::{RequestId, StorageError},
};

const MOUNTS_KEY: &[u8] = b"mounts";

/// One mount.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
}

impl Mount {
    fn new(config: &MountConfig) -> Self {
        let uuid = Uuid::new_v4();
        let short = uuid.simple().to_string().chars().take(8).collect::<String>();
        Self {
            uuid,
            accessor: format!("kv_{short}"),
            engine: config.engine.clone(),
            backend: config.backend.clone(),
            created: clock::now(),
        }
    }

    /// The keyspace that holds its records.
    pub fn keyspace(&self) -> String {
        format!("mount-{}", self.uuid)
    }
}

/// All mounts by path, without slashes at the ends.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountTable {
    mounts: BTreeMap<String, Mount>,
}

/// Why the table cannot be had.
#[derive(Debug, Error)]
pub enum MountError {
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The record does not open, or cannot be sealed.
    #[error("the table of mounts: {0}")]
    Barrier(#[from] BarrierError),
    /// The configuration contradicts the store.
    #[error(
        "mount {path:?} is on backend {stored:?}, and the configuration says {configured:?}; \
         moving a mount is a migration: write {stored:?} or configure another path"
    )]
    Moved {
        /// Which mount.
        path: String,
        /// Where it is.
        stored: String,
        /// Where the configuration wants it.
        configured: String,
    },
}

impl MountTable {
    /// The stored table, with the configured mounts added that it does not have yet.
    ///
    /// # Errors
    ///
    /// See [`MountError`].
    pub async fn load(
        barrier: &Barrier,
        request: RequestId,
        configured: &BTreeMap<String, MountConfig>,
    ) -> Result<Self, MountError> {
        loop {
            let (mut table, version) = Self::read(barrier, request).await?;
            if !table.add_missing(configured)? {
                return Ok(table);
            }
            match table.write(barrier, request, version).await {
                Ok(()) => return Ok(table),
                // Another host was quicker: begin with what it wrote.
                Err(MountError::Storage(error)) if error.is_lost_race() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The mounts by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Mount)> {
        self.mounts.iter().map(|(path, mount)| (path.as_str(), mount))
    }

    /// The mount whose path is the longest that `path` begins with, and what comes behind it.
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

    /// Adds what is configured and missing; answers whether there was any.
    fn add_missing(&mut self, configured: &BTreeMap<String, MountConfig>) -> Result<bool, MountError> {
        let mut added = false;
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
                    self.mounts.insert(path.clone(), Mount::new(config));
                    added = true;
                }
            }
        }
        Ok(added)
    }

    async fn read(barrier: &Barrier, request: RequestId) -> Result<(Self, Option<Version>), MountError> {
        let Some(record) = barrier.system().get(request, Key::new(SYSTEM_KEYSPACE, MOUNTS_KEY)).await? else {
            return Ok((Self::default(), None));
        };
        let opened =
            barrier.open(request, &Record::system(RecordKind::Mounts, MOUNTS_KEY), record.value()).await?;
        let table = serde_json::from_slice(&opened).map_err(|_| BarrierError::Open(OpenError::Malformed))?;
        Ok((table, Some(record.version())))
    }

    async fn write(
        &self,
        barrier: &Barrier,
        request: RequestId,
        version: Option<Version>,
    ) -> Result<(), MountError> {
        let text = serde_json::to_vec(self).expect("a table of mounts is plain data");
        let sealed = barrier.seal(request, &Record::system(RecordKind::Mounts, MOUNTS_KEY), &text).await?;
        let put = Put::new(Key::new(SYSTEM_KEYSPACE, MOUNTS_KEY), &sealed)
            .when(version.map_or(Condition::Absent, Condition::Version));
        barrier.system().put_settled(request, put).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(paths: &[&str]) -> MountTable {
        let config = MountConfig { engine: "secrets".into(), backend: "main".into() };
        MountTable { mounts: paths.iter().map(|path| ((*path).to_owned(), Mount::new(&config))).collect() }
    }

    #[test]
    fn longest_mount_wins_and_names_are_not_mistaken_for_prefixes() {
        let table = table(&["secret", "secret/team"]);
        let resolved = |path| table.resolve(path).map(|(mount, _, rest)| (mount, rest));
        assert_eq!(resolved("secret/data/a"), Some(("secret", "data/a")));
        assert_eq!(resolved("secret/team/data/a"), Some(("secret/team", "data/a")));
        assert_eq!(resolved("secret"), Some(("secret", "")));
        assert_eq!(resolved("secrets/data/a"), None);
    }

    #[test]
    fn configured_mount_on_another_backend_is_refused() {
        let mut table = table(&["secret"]);
        let moved = MountConfig { engine: "secrets".into(), backend: "other".into() };
        let error = table.add_missing(&BTreeMap::from([("secret".to_owned(), moved)])).unwrap_err();
        assert!(error.to_string().contains("migration"), "{error}");
    }
}
