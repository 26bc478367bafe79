//! Markers of a cluster: which cluster a data directory knows, and which one a backend's records belong to. A
//! marker distinguishes a lost store from one that was never used, and the own cluster's from another
//! cluster's.
//!
//! The seal record is the system backend's marker. Every other backend has the record `cluster`, written
//! before its first mount; the data directory has the file `cluster.json`. Backends that lose everything when
//! they close have none.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use keyway_loader::{Condition, Delete, Key, Put, Version};
use keyway_storage::{SYSTEM_KEYSPACE, Storage, StorageError, Work};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::record::{SealRecord, SealRecordError};

const MARKER_KEY: &[u8] = b"cluster";
const FILE: &str = "cluster.json";
const FORMAT: u32 = 1;
/// How often a marker that others write at the same time is tried.
const ATTEMPTS: u32 = 8;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    format: u32,
    cluster_id: Uuid,
}

/// Why a marker cannot be used.
#[derive(Debug, Error)]
pub enum MarkerError {
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The seal record in it.
    #[error(transparent)]
    SealRecord(#[from] SealRecordError),
    /// The marker in a backend is none.
    #[error("the cluster marker in backend {backend:?} cannot be understood")]
    Malformed {
        /// Which backend.
        backend: String,
    },
    /// The file in the data directory cannot be read or written.
    #[error("the cluster marker {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The cluster that a backend's records belong to, if it has a marker.
///
/// # Errors
///
/// `Storage` if the store cannot be read; `Malformed` if the marker is not a cluster's id.
pub async fn read(storage: &Storage, work: &Work) -> Result<Option<Uuid>, MarkerError> {
    Ok(version(storage, work).await?.map(|(owner, _)| owner))
}

/// Whose records a backend that is not the system's holds: by its marker, or by a seal record, if it was the
/// system's of another cluster.
///
/// # Errors
///
/// `Storage` if the store cannot be read; `SealRecord` or `Malformed` if the record cannot be understood.
pub async fn owner(storage: &Storage, work: &Work) -> Result<Option<Uuid>, MarkerError> {
    if let Some(marked) = read(storage, work).await? {
        return Ok(Some(marked));
    }
    Ok(SealRecord::load(storage, work).await?.map(|record| record.cluster_id))
}

/// Marks a backend as this cluster's, unless it is another's; answers whose it is. A marker of this cluster's
/// is written again: a host that is about to remove the one that was there removes it no more.
///
/// # Errors
///
/// `Storage` if the store cannot be read or written; `SealRecord` or `Malformed` if a record that is there
/// cannot be understood.
pub async fn claim(storage: &Storage, work: &Work, cluster: Uuid) -> Result<Uuid, MarkerError> {
    let bytes = bytes_of(cluster);
    let mut attempts = 0;
    loop {
        let condition = match version(storage, work).await? {
            None => Condition::Absent,
            Some((owner, _)) if owner != cluster => return Ok(owner),
            Some((_, version)) => Condition::Version(version),
        };
        attempts += 1;
        match storage.put_settled(work, Put::new(marker_key(), &bytes).when(condition)).await {
            Ok(_) => return Ok(cluster),
            Err(error) if error.is_lost_race() && attempts < ATTEMPTS => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The cluster that a backend's marker names, and the marker's version, if there is one.
///
/// # Errors
///
/// `Storage` if the store cannot be read; `Malformed` if the marker is not a cluster's id.
pub async fn version(storage: &Storage, work: &Work) -> Result<Option<(Uuid, Version)>, MarkerError> {
    let Some(record) = storage.get(work, marker_key()).await? else { return Ok(None) };
    let malformed = || MarkerError::Malformed { backend: storage.name().to_owned() };
    let owner = parse(record.value()).ok_or_else(malformed)?;
    Ok(Some((owner, record.version())))
}

/// Takes off this very marker; whether it was still there.
///
/// # Errors
///
/// The store's.
pub async fn remove_this(storage: &Storage, work: &Work, version: Version) -> Result<bool, MarkerError> {
    match storage.delete(work, Delete::new(marker_key()).when(Condition::Version(version))).await {
        Ok(was_there) => Ok(was_there),
        Err(error) if error.is_lost_race() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes the marker of this cluster off a backend; whether it was there.
///
/// # Errors
///
/// `Storage` if the store cannot be read or does not remove the marker; `Malformed` if the marker is not a
/// cluster's id.
pub async fn remove(storage: &Storage, work: &Work, cluster: Uuid) -> Result<bool, MarkerError> {
    match version(storage, work).await? {
        Some((owner, version)) if owner == cluster => remove_this(storage, work, version).await,
        _ => Ok(false),
    }
}

fn marker_key() -> Key<'static> {
    Key::new(SYSTEM_KEYSPACE, MARKER_KEY)
}

fn bytes_of(cluster: Uuid) -> Vec<u8> {
    serde_json::to_vec(&Marker { format: FORMAT, cluster_id: cluster }).expect("a marker is plain data")
}

fn parse(bytes: &[u8]) -> Option<Uuid> {
    let marker: Marker = serde_json::from_slice(bytes).ok()?;
    (marker.format == FORMAT).then_some(marker.cluster_id)
}

/// The marker in a data directory.
#[derive(Debug)]
pub struct DataDirMarker {
    path: PathBuf,
}

impl DataDirMarker {
    /// The marker of this data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(FILE) }
    }

    /// The cluster that the directory knows.
    ///
    /// # Errors
    ///
    /// `File` if it is there and cannot be read, or is no marker.
    pub fn read(&self) -> Result<Option<Uuid>, MarkerError> {
        match fs::read(&self.path) {
            Ok(bytes) => {
                let malformed =
                    || self.error(io::Error::new(io::ErrorKind::InvalidData, "it is no cluster marker"));
                parse(&bytes).map(Some).ok_or_else(malformed)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Writes a temporary file, syncs it, and renames it.
    ///
    /// # Errors
    ///
    /// `File`.
    pub fn write(&self, cluster: Uuid) -> Result<(), MarkerError> {
        self.try_write(cluster).map_err(|error| self.error(error))
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// `File`.
    pub fn remove(&self) -> Result<(), MarkerError> {
        fs::remove_file(&self.path).and_then(|()| self.sync_directory()).map_err(|error| self.error(error))
    }

    fn try_write(&self, cluster: Uuid) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let mut beside = tempfile::Builder::new().prefix(".cluster-").tempfile_in(directory)?;
        io::Write::write_all(&mut beside, &bytes_of(cluster))?;
        beside.as_file().sync_all()?;
        beside.persist(&self.path).map_err(|error| error.error)?;
        self.sync_directory()
    }

    fn sync_directory(&self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        if cfg!(unix) { fs::File::open(directory)?.sync_all() } else { Ok(()) }
    }

    fn error(&self, source: io::Error) -> MarkerError {
        MarkerError::File { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_directory_remembers_and_forgets() {
        let directory = tempfile::tempdir().unwrap();
        let marker = DataDirMarker::new(directory.path());
        assert_eq!(marker.read().unwrap(), None);
        marker.write(Uuid::from_u128(7)).unwrap();
        assert_eq!(DataDirMarker::new(directory.path()).read().unwrap(), Some(Uuid::from_u128(7)));
        fs::write(directory.path().join(FILE), "{").unwrap();
        assert!(marker.read().is_err(), "damage is not absence");
        marker.remove().unwrap();
        assert_eq!(marker.read().unwrap(), None);
    }
}
