//! What this machine remembers about libraries, by digest: verdicts of probes, crashes, those in quarantine, those that have
//! worked, and which of them each backend was opened with last.
//!
//! One JSON file beside the staged copies, replaced as a whole under a lock, so that a command and a server do not undo each
//! other's changes. It makes nothing safer that trust has not made safe: a history that cannot be read is put aside and
//! begun anew.

mod marker;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::marker::Marker;
use crate::{
    Digest, SearchPath,
    describe::Descriptor,
    loader::StageFailure,
    probe::{Passed, ProbeError, Refused},
    report::Fix,
};

/// The crashes after which a digest is quarantined.
const CRASHES: usize = 2;
/// The crashes that are remembered of a digest.
const MAX_CRASHES: usize = 8;

/// A history in a directory of its own, which is the staging directory.
#[derive(Debug, Clone)]
pub struct History {
    directory: PathBuf,
}

/// Everything that is remembered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Records {
    /// By digest.
    #[serde(default)]
    libraries: BTreeMap<String, Library>,
    /// By the backend's name.
    #[serde(default)]
    backends: BTreeMap<String, Openings>,
}

/// What is remembered about a library.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Library {
    /// Its name and version, for people.
    pub plugin: String,
    /// The last verdict of a probe.
    pub verdict: Option<Verdict>,
    /// When a store was opened with it and was healthy, in seconds since 1970.
    pub worked: Option<u64>,
    /// The crashes since it was last released, the oldest first.
    #[serde(default)]
    pub crashes: Vec<Crash>,
    /// Since when it is in quarantine, in seconds since 1970.
    pub quarantined: Option<u64>,
}

/// A verdict, and for whom it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The host's version.
    pub host: String,
    /// The host's interface.
    pub interface: String,
    /// What was found.
    pub found: Result<Passed, Refused>,
}

/// A process that a library has taken down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// In seconds since 1970.
    pub at: u64,
    /// During what, and how.
    pub what: String,
}

/// With which libraries a backend was opened.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Openings {
    /// The last one.
    pub current: Option<Opening>,
    /// The last one of another digest.
    pub previous: Option<Opening>,
}

/// A backend that was opened and was healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: semver::Version,
    /// The library's SHA-256.
    pub sha256: String,
    /// The data format that the store had.
    pub data_format: u32,
    /// The directory that the library was found in, whose policy it must still pass.
    pub place: SearchPath,
}

/// Why something could not be remembered.
#[derive(Debug, Error)]
#[error("remember what is known about plugins in {}", path.display())]
pub struct HistoryError {
    path: PathBuf,
    source: io::Error,
}

/// A library that is not tried again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "it is in quarantine, because it has taken its process down {} times; last: {}", crashes.len(),
    crashes.last().map_or("unknown", |crash| crash.what.as_str())
)]
pub struct Quarantined {
    /// The library.
    pub digest: Digest,
    /// What it did.
    pub crashes: Vec<Crash>,
}

impl Fix for Quarantined {
    fn fix(&self) -> String {
        format!(
            "use another build, or release it: `keyway plugin quarantine clear {} --config FILE`",
            self.digest
        )
    }
}

impl History {
    /// The history in `directory`. Crashes of processes that are gone are counted now.
    pub fn new(directory: PathBuf) -> Self {
        let history = Self { directory };
        for (digest, plugin, what) in marker::left_behind(&history.directory) {
            tracing::warn!(plugin, %digest, what, "a process has ended while it used this plugin");
            history.remember(history.crashed(digest, &plugin, &what).map(drop));
        }
        history
    }

    /// What is remembered about a library.
    pub fn library(&self, digest: Digest) -> Option<Library> {
        self.read().libraries.remove(&digest.to_string())
    }

    /// With which libraries a backend was opened.
    pub fn openings(&self, backend: &str) -> Openings {
        self.read().backends.remove(backend).unwrap_or_default()
    }

    /// The libraries in quarantine, by digest.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn quarantine(&self) -> Result<Vec<(String, Library)>, HistoryError> {
        let path = self.file();
        match File::open(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(HistoryError { path, source });
            }
            _ => {}
        }
        let libraries = self.read().libraries.into_iter();
        Ok(libraries.filter(|(_, library)| library.quarantined.is_some()).collect())
    }

    /// Releases libraries whose digests begin with `prefix`, or all; answers their digests. Their verdicts are forgotten too.
    ///
    /// # Errors
    ///
    /// When it cannot be written down.
    pub fn release(&self, prefix: &str) -> Result<Vec<String>, HistoryError> {
        self.edit(|records| {
            let mut released = Vec::new();
            for (digest, library) in &mut records.libraries {
                if library.quarantined.is_some() && digest.starts_with(prefix) {
                    (library.quarantined, library.verdict) = (None, None);
                    library.crashes.clear();
                    released.push(digest.clone());
                }
            }
            released
        })
    }

    /// What is known about a library without trying it: the verdict of an earlier probe by this version of the host, or
    /// nothing.
    ///
    /// # Errors
    ///
    /// `Quarantined`, or the `Probe`'s where it was refused.
    pub fn known(&self, digest: Digest, host: &str) -> Result<Option<Passed>, StageFailure> {
        let Some(library) = self.library(digest) else { return Ok(None) };
        if library.quarantined.is_some() {
            let crashes = library.crashes;
            return Err(StageFailure::Quarantined(Quarantined { digest, crashes }));
        }
        let holds = |verdict: &Verdict| verdict.host == host && verdict.interface == crate::INTERFACE_VERSION;
        match library.verdict.filter(holds).map(|verdict| verdict.found) {
            None => Ok(None),
            Some(Ok(passed)) => Ok(Some(passed)),
            Some(Err(refused)) => Err(StageFailure::Probe(ProbeError::Refused(refused))),
        }
    }

    /// Remembers how a probe went. What is inconclusive is forgotten; a crash is counted.
    pub(crate) fn probed(
        &self,
        digest: Digest,
        plugin: &str,
        host: &str,
        found: &Result<Passed, ProbeError>,
    ) {
        let verdict = match found {
            Ok(passed) => Ok(passed.clone()),
            Err(ProbeError::Refused(refused)) => Err(refused.clone()),
            Err(error) if error.is_crash() => {
                return self.remember(self.crashed(digest, plugin, &format!("probed, {error}")).map(drop));
            }
            Err(_) => return,
        };
        let verdict =
            Verdict { host: host.to_owned(), interface: crate::INTERFACE_VERSION.to_owned(), found: verdict };
        self.remember(self.edit_library(digest, plugin, |library| library.verdict = Some(verdict)));
    }

    /// Marks that the host does something dangerous with a library; whoever finds the mark after the host's end counts a
    /// crash.
    pub(crate) fn begin(&self, digest: Digest, plugin: &str, what: &str) -> Option<Marker> {
        match marker::begin(&self.directory, digest, plugin, what) {
            Ok(marker) => Some(marker),
            Err(source) => {
                let error = HistoryError { path: self.directory.clone(), source };
                self.remember(Err(error));
                None
            }
        }
    }

    /// Remembers that a backend was opened with a library and is healthy.
    pub(crate) fn worked(
        &self,
        backend: &str,
        digest: Digest,
        descriptor: &Descriptor,
        data_format: u32,
        place: &SearchPath,
    ) {
        let opening = Opening {
            plugin: descriptor.name.clone(),
            version: descriptor.version.clone(),
            sha256: digest.to_string(),
            data_format,
            place: place.clone(),
        };
        // Mostly it is what is written already.
        let is_known = self
            .library(digest)
            .is_some_and(|library| library.worked.is_some() && library.crashes.is_empty());
        if is_known && self.openings(backend).current.as_ref() == Some(&opening) {
            return;
        }
        let plugin = format!("{} {}", descriptor.name, descriptor.version);
        self.remember(self.edit(|records| {
            let library = records.libraries.entry(digest.to_string()).or_default();
            (library.plugin, library.worked) = (plugin, Some(now()));
            library.crashes.clear();
            let openings = records.backends.entry(backend.to_owned()).or_default();
            if let Some(before) = openings.current.replace(opening)
                && openings.current.as_ref().is_some_and(|current| current.sha256 != before.sha256)
            {
                openings.previous = Some(before);
            }
        }));
    }

    /// The digests that a backend may still fall back to.
    pub(crate) fn referred(&self) -> Vec<String> {
        let openings = self.read().backends.into_values();
        openings
            .flat_map(|openings| [openings.current, openings.previous])
            .flatten()
            .map(|opening| opening.sha256)
            .collect()
    }

    /// Counts a crash; answers whether the library is in quarantine now. One that has worked on this machine before never
    /// is: machines fail too.
    fn crashed(&self, digest: Digest, plugin: &str, what: &str) -> Result<bool, HistoryError> {
        self.edit_library(digest, plugin, |library| {
            library.crashes.push(Crash { at: now(), what: what.to_owned() });
            let surplus = library.crashes.len().saturating_sub(MAX_CRASHES);
            library.crashes.drain(..surplus);
            if library.worked.is_none() && library.crashes.len() >= CRASHES {
                library.quarantined.get_or_insert_with(now);
            }
            library.quarantined.is_some()
        })
    }

    /// That something cannot be remembered keeps nobody from working.
    fn remember(&self, done: Result<(), HistoryError>) {
        if let Err(error) = done {
            tracing::warn!(error = %crate::Chain(&error), "the history of plugins is not kept");
        }
    }

    fn edit_library<T>(
        &self,
        digest: Digest,
        plugin: &str,
        change: impl FnOnce(&mut Library) -> T,
    ) -> Result<T, HistoryError> {
        self.edit(|records| {
            let library = records.libraries.entry(digest.to_string()).or_default();
            plugin.clone_into(&mut library.plugin);
            change(library)
        })
    }

    fn edit<T>(&self, change: impl FnOnce(&mut Records) -> T) -> Result<T, HistoryError> {
        let edit = || {
            fs::create_dir_all(&self.directory)?;
            let _lock = exclusive(&self.directory.join("history.lock"))?;
            let mut records = self.read();
            let answer = change(&mut records);
            self.write(&records)?;
            Ok(answer)
        };
        edit().map_err(|source| HistoryError { path: self.file(), source })
    }

    fn file(&self) -> PathBuf {
        self.directory.join("history.json")
    }

    fn read(&self) -> Records {
        let path = self.file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "the history of plugins cannot be read");
                }
                return Records::default();
            }
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            let aside = path.with_extension("damaged");
            // If it cannot be put aside, it is overwritten.
            let _kept = fs::rename(&path, &aside);
            tracing::warn!(path = %aside.display(), %error, "the history of plugins is damaged, and begun anew");
            Records::default()
        })
    }

    fn write(&self, records: &Records) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".history-").tempfile_in(&self.directory)?;
        file.write_all(&serde_json::to_vec_pretty(records)?)?;
        file.as_file().sync_all()?;
        give_to_owner(file.as_file(), &self.directory)?;
        file.persist(self.file()).map(drop).map_err(|error| error.error)
    }
}

/// Holds until it is dropped.
fn exclusive(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    give_to_owner(&file, path.parent().unwrap_or(path))?;
    file.lock()?;
    Ok(file)
}

/// What root writes into another user's directory belongs to that user: the server must be able to read it.
#[cfg(unix)]
fn give_to_owner(file: &File, directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let owner = fs::metadata(directory)?;
    let is_foreign = rustix::process::geteuid().is_root() && owner.uid() != 0;
    if is_foreign { fchown(file, Some(owner.uid()), Some(owner.gid())) } else { Ok(()) }
}

#[cfg(not(unix))]
fn give_to_owner(_file: &File, _directory: &Path) -> io::Result<()> {
    Ok(())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
