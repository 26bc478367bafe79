//! Plugin files: reading their descriptors, and writing files next to them.

use std::{fs, io, io::Write as _, path::Path};

use keyway_loader::{
    Chain, Digest, Fix,
    describe::{Described, describe},
    loader::{Diagnosis, StageFailure},
    stage::stage,
};
use tempfile::TempDir;

use crate::Failure;

/// A file's description, and the directory of its copy.
pub fn read(file: &Path) -> Result<(Described, TempDir), Failure> {
    let staging = staging()?;
    let described = read_into(file, &staging.path().join("staged"))?;
    Ok((described, staging))
}

/// Stages a file in a directory, and reads what it says about itself.
///
/// # Errors
///
/// `NotFound` if there is no file; why it is no plugin.
pub fn read_into(file: &Path, directory: &Path) -> Result<Described, Failure> {
    let refused = |error: StageFailure| {
        let message = format!("{error}; {}", error.fix());
        if file.exists() { Failure::Other(message) } else { Failure::NotFound(message) }
    };
    let staged = stage(file, directory).map_err(|error| refused(StageFailure::Stage(error)))?;
    describe(staged).map_err(|error| refused(StageFailure::Describe(error)))
}

/// A directory for copies, which is removed at the end.
///
/// # Errors
///
/// Why it cannot be made.
pub fn staging() -> Result<TempDir, Failure> {
    tempfile::tempdir().map_err(|error| Failure::Other(format!("make a temporary directory: {error}")))
}

/// Writes a temporary file next to it and renames that one. So no reader sees half a file, and a process that
/// has mapped the old one keeps it whole.
pub fn write_whole(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut beside = tempfile::Builder::new().prefix(".keyway-").tempfile_in(directory)?;
        beside.write_all(contents)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            beside.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        }
        beside.as_file().sync_all()?;
        beside.persist(path).map(drop).map_err(|error| error.error)
    };
    write().map_err(|error| Failure::file("write", path, &error))
}

/// A failure with all its sources.
pub fn chain(error: &dyn std::error::Error) -> Failure {
    Failure::Other(Chain(error).to_string())
}

/// The versions and digests of a file, as far as they are known.
pub fn identity(diagnosis: &Diagnosis) -> (String, String, Option<Digest>) {
    diagnosis.described.as_ref().map_or_else(Default::default, |described| {
        let descriptor = &described.descriptor;
        (descriptor.version.to_string(), descriptor.interface.to_string(), Some(described.staged.digest))
    })
}
