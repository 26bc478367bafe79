//! Stage 2: one private copy, hashed while it is copied. Everything after reads that copy alone, so that
//! nothing can change between the check and the use.
//!
//! The copy is needed for two more reasons: glibc hands back the old code for a path that it knows, and
//! overwriting a mapped library kills the process.

pub mod provenance;

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use self::provenance::Provenance;
use crate::report::Fix;

/// The largest library that is staged.
const MAX_LIBRARY_BYTES: u64 = 512 * 1024 * 1024;

/// The SHA-256 of a library.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// A digest from 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.to_ascii_lowercase().as_bytes()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A library's private copy.
#[derive(Debug, Clone)]
pub struct Staged {
    /// The file that was copied.
    pub source: PathBuf,
    /// The copy, named by its digest.
    pub path: PathBuf,
    /// What was copied.
    pub digest: Digest,
    /// Who could have written what was copied.
    pub provenance: Provenance,
}

/// Why a library could not be staged.
#[derive(Debug, Error)]
pub enum StageError {
    /// The file cannot be opened.
    #[error("open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory, a device, a socket.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Every user could change it.
    #[error("{} can be written by every user (mode {mode:o})", path.display())]
    WorldWritable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Another user could change it.
    #[error("{} belongs to user {owner}, and only root and this program's user {own} may own it", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user that this program runs as.
        own: u32,
    },
    /// Larger than any library should be.
    #[error("{} is larger than {MAX_LIBRARY_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read to its end, or the copy not written.
    #[error("copy {} to {}", path.display(), to.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// Where the copies are.
        to: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory for the copies cannot be made, or is not private.
    #[error("prepare the staging directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Fix for StageError {
    fn fix(&self) -> String {
        match self {
            Self::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the path, and where links lead".to_owned()
            }
            Self::Open { path, .. } => format!("let this program's user read {}", path.display()),
            Self::NotAFile { path } => format!("put the library itself at {}", path.display()),
            Self::WorldWritable { path, .. } => format!("chmod o-w {}", path.display()),
            Self::ForeignOwner { path, own, .. } => format!("chown {own} {}", path.display()),
            Self::TooLarge { .. } => "strip debugging information from it".to_owned(),
            Self::Copy { to, .. } => format!("make room in {}, and see that the file is whole", to.display()),
            Self::Directory { path, .. } => {
                format!("chown {} to this program's user, and chmod it to 0700", path.display())
            }
        }
    }
}

/// Copies the library at `path` into `directory`, which is made private to this user if it does not exist.
///
/// # Errors
///
/// `Open` or `NotAFile` for the path; `WorldWritable` or `ForeignOwner` if others may change the file;
/// `TooLarge`; `Copy` or `Directory` if the copy cannot be made.
pub fn stage(path: &Path, directory: &Path) -> Result<Staged, StageError> {
    // The child that probes it stands elsewhere.
    let directory = &std::path::absolute(directory)
        .map_err(|source| StageError::Directory { path: directory.to_owned(), source })?;
    prepare(directory)?;
    let (file, provenance) =
        provenance::open(path).map_err(|source| StageError::Open { path: path.to_owned(), source })?;
    check(&file, &provenance, path)?;
    let (staged, digest) = copy(file, directory).map_err(|source| StageError::Copy {
        path: path.to_owned(),
        to: directory.to_owned(),
        source,
    })?;
    match staged {
        Some(staged) => Ok(Staged { source: path.to_owned(), path: staged, digest, provenance }),
        None => Err(StageError::TooLarge { path: path.to_owned() }),
    }
}

/// What the open file says, so that a later change of the path does not matter.
fn check(file: &File, provenance: &Provenance, path: &Path) -> Result<(), StageError> {
    let metadata = file.metadata().map_err(|source| StageError::Open { path: path.to_owned(), source })?;
    if !metadata.is_file() {
        return Err(StageError::NotAFile { path: path.to_owned() });
    }
    let Some(owner) = provenance.file else { return Ok(()) };
    if !owner.is_trusted() {
        let (owner, own) = (owner.user, provenance::own_user());
        return Err(StageError::ForeignOwner { path: path.to_owned(), owner, own });
    }
    if owner.mode & 0o002 != 0 {
        return Err(StageError::WorldWritable { path: path.to_owned(), mode: owner.mode });
    }
    Ok(())
}

/// The copy's path, or none if the file is too large; and the digest of what was copied.
fn copy(file: File, directory: &Path) -> io::Result<(Option<PathBuf>, Digest)> {
    let mut to = tempfile::Builder::new().prefix(".staging-").tempfile_in(directory)?;
    let mut hasher = Sha256::new();
    let mut from = file.take(MAX_LIBRARY_BYTES + 1);
    let mut buffer = vec![0; 128 * 1024];
    let mut total = 0;
    loop {
        let count = from.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else { break };
        hasher.update(chunk);
        to.write_all(chunk)?;
        total += count as u64;
    }
    let digest = Digest(hasher.finalize().into());
    if total > MAX_LIBRARY_BYTES {
        return Ok((None, digest));
    }
    set_mode(to.path(), 0o500)?;
    // Renamed over an older copy of the same digest, never written into it: that one may be mapped.
    let path = copy_path(directory, &digest.to_string());
    match to.persist(&path) {
        Ok(_) => Ok((Some(path), digest)),
        // If a mapped file cannot be replaced, it may be what it should be.
        Err(_) if fs::read(&path).is_ok_and(|present| Digest::of(&present) == digest) => {
            Ok((Some(path), digest))
        }
        Err(error) => Err(error.error),
    }
}

/// Where the copy of a library is, of which the digest is known.
pub(crate) fn copy_path(directory: &Path, sha256: &str) -> PathBuf {
    directory.join(format!("{sha256}{}", std::env::consts::DLL_SUFFIX))
}

/// Makes the directory for the copies if there is none, and sees that it is private and can be written.
///
/// # Errors
///
/// `Directory`.
pub fn prepare(directory: &Path) -> Result<(), StageError> {
    let prepared = make_private(directory).and_then(|()| tempfile::tempfile_in(directory));
    prepared.map(drop).map_err(|source| StageError::Directory { path: directory.to_owned(), source })
}

/// A directory that is this user's alone; made so if there is none.
#[cfg(unix)]
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let metadata = fs::symlink_metadata(directory)?;
    if !metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a directory, or a link to one"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "belongs to another user"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "open to others"));
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staged_copy_is_private_named_by_digest_and_unaffected_by_later_changes() {
        let temporary = tempfile::tempdir().unwrap();
        let source = temporary.path().join("lib.so");
        fs::write(&source, b"one").unwrap();
        let staged = stage(&source, &temporary.path().join("staged")).unwrap();
        fs::write(&source, b"two").unwrap();
        assert_eq!(staged.digest, Digest::of(b"one"));
        assert_eq!(fs::read(&staged.path).unwrap(), b"one");
        assert!(staged.path.to_string_lossy().contains(&staged.digest.to_string()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&staged.path).unwrap().permissions().mode() & 0o777, 0o500);
        }
    }

    #[test]
    fn directory_is_not_a_library() {
        let temporary = tempfile::tempdir().unwrap();
        let error = stage(temporary.path(), &temporary.path().join("staged")).unwrap_err();
        assert!(matches!(error, StageError::NotAFile { .. }), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn pipe_is_not_a_library_and_is_not_waited_for() {
        let temporary = tempfile::tempdir().unwrap();
        let pipe = temporary.path().join("lib.so");
        let directory =
            rustix::fs::open(temporary.path(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty());
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(directory.unwrap(), "lib.so", rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let error = stage(&pipe, &temporary.path().join("staged")).unwrap_err();
        assert!(matches!(error, StageError::NotAFile { .. }), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn staging_directory_that_is_open_to_others_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let (source, staging) = (temporary.path().join("lib.so"), temporary.path().join("staged"));
        fs::write(&source, b"one").unwrap();
        fs::create_dir(&staging).unwrap();
        set_mode(&staging, 0o755).unwrap();
        let error = stage(&source, &staging).unwrap_err();
        assert!(matches!(error, StageError::Directory { .. }), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn world_writable_library_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let source = temporary.path().join("lib.so");
        fs::write(&source, b"one").unwrap();
        set_mode(&source, 0o666).unwrap();
        let error = stage(&source, &temporary.path().join("staged")).unwrap_err();
        assert!(matches!(error, StageError::WorldWritable { mode: 0o666, .. }), "{error}");
    }
}
