//! Marks on the disk for as long as the host does something with a library that could take it down. A mark
//! whose process is gone tells of a crash.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Digest, stage};

const PREFIX: &str = "in-use-";
/// The longest mark.
const MAX_BYTES: u64 = 64 * 1024;

/// A mark. Dropping it takes it away.
#[derive(Debug)]
pub struct Marker {
    path: PathBuf,
    /// Locked for as long as the process lives.
    _file: File,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    digest: String,
    plugin: String,
    what: String,
}

impl Drop for Marker {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a mark stays, and will count as a crash");
        }
    }
}

pub(super) fn begin(directory: &Path, digest: Digest, plugin: &str, what: &str) -> io::Result<Marker> {
    let contents = Contents { digest: digest.to_string(), plugin: plugin.to_owned(), what: what.to_owned() };
    stage::make_private(directory)?;
    // Locked before it has its name, so that other processes find it locked as long as this process lives.
    let mut file = tempfile::Builder::new().prefix(".in-use-").tempfile_in(directory)?;
    file.as_file().lock()?;
    // Not synced: it is to outlive this process, and not a loss of power, of which the library is innocent.
    file.write_all(&serde_json::to_vec(&contents)?)?;
    let name = file.path().file_name().map(|name| name.to_string_lossy().replace(".in-use-", PREFIX));
    let path = directory.join(name.unwrap_or_default());
    let file = file.persist(&path).map_err(|error| error.error)?;
    Ok(Marker { path, _file: file })
}

/// The digest, the plugin and what was done with it, for each mark whose process is gone. The marks are taken
/// away.
pub(super) fn left_behind(directory: &Path) -> Vec<(Digest, String, String)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let marks = entries.filter_map(Result::ok).map(|entry| entry.path());
    let marks = marks.filter(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
    });
    marks.filter_map(|path| take(&path)).collect()
}

/// None if the process lives, or another has counted it already.
fn take(path: &Path) -> Option<(Digest, String, String)> {
    let file = super::file::open(path).ok()?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
    }
    let mut text = Vec::new();
    (&file).take(MAX_BYTES).read_to_end(&mut text).ok()?;
    fs::remove_file(path).ok()?;
    let Contents { digest, plugin, what } = serde_json::from_slice(&text).ok()?;
    Some((Digest::parse(&digest)?, plugin, what))
}
