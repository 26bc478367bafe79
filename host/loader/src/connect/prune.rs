//! Which staged copies are removed.

use std::{fs, path::Path, time::Duration};

use crate::{Digest, Loader, probe::rehearsal};

/// The age at which no process writes a half-written file any more.
const DEBRIS: Duration = Duration::from_hours(1);
/// Files of the staging directory that are looked at when old copies are removed.
const MAX_STAGED: usize = 10_000;

impl Loader {
    /// Removes staged copies that nothing falls back to: all but those that are given and those of the
    /// backends' current and previous openings.
    pub fn prune(&self, in_use: &[Digest]) {
        // If it is unknown which copies are still needed, nothing is removed.
        let Ok(mut kept) = self.history.referred() else { return };
        kept.extend(in_use.iter().map(Digest::to_string));
        let Ok(entries) = fs::read_dir(&self.staging_dir) else { return };
        for path in entries.take(MAX_STAGED).filter_map(Result::ok).map(|entry| entry.path()) {
            let is_surplus = digest_of(&path).is_some_and(|digest| !kept.contains(&digest));
            let remove = || {
                if is_of_a_rehearsal(&path) { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            };
            if (is_surplus || is_debris(&path))
                && let Err(error) = remove()
            {
                tracing::warn!(path = %path.display(), %error, "an old staged copy is not removed");
            }
        }
    }
}

/// What a process has left half-written that is gone for long.
fn is_debris(path: &Path) -> bool {
    let is_temporary =
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with('.'));
    let age = || path.symlink_metadata().ok()?.modified().ok()?.elapsed().ok();
    is_temporary && age().is_some_and(|age| age > DEBRIS)
}

fn is_of_a_rehearsal(path: &Path) -> bool {
    path.is_dir()
        && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(rehearsal::PREFIX))
}

/// By the file's name; of a copy, of its signature, and of nothing else.
fn digest_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".minisig").unwrap_or(name);
    let digest = name.strip_suffix(std::env::consts::DLL_SUFFIX)?;
    Digest::parse(digest).map(|digest| digest.to_string())
}
