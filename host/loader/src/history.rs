//! The history of libraries on this machine, by digest: verdicts of probes, crashes, quarantine, success, and
//! the library that each backend was opened with last.
//!
//! One JSON file next to the staged copies, replaced as a whole under a lock, so that a command and a server
//! do not undo each other's changes. It adds nothing to the security of the trust stage: a history that
//! cannot be read is put aside, and a new one begun.

mod file;
mod marker;
mod openings;
mod records;

use std::{
    io,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use thiserror::Error;

use self::records::Records;
pub use self::{
    marker::Marker,
    records::{Crash, Library, Opening, Openings, Verdict},
};
use crate::{
    Digest, SearchPath,
    describe::Descriptor,
    probe::{Passed, ProbeError, Refused},
    report::Fix,
    stage,
};

/// The crashes after which a digest is quarantined.
const CRASHES: usize = 2;
/// How a mark begins that is set while a backend is opened; its name follows.
const OPENING: &str = "opening backend ";
/// The crashes that are remembered of a digest.
const MAX_CRASHES: usize = 8;

/// A history in its own directory, which is the staging directory.
#[derive(Debug, Clone)]
pub struct History {
    directory: PathBuf,
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

/// Why a library is not tried.
#[derive(Debug, Clone)]
pub enum NotTried {
    /// It has taken its process down too often.
    Quarantined(Quarantined),
    /// A probe has refused it.
    Refused(Refused),
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
    /// The history in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Counts the crashes of processes that are gone. For a host, before it loads anything; a command that
    /// only looks leaves the marks to it.
    pub fn count_crashes(&self) {
        for (digest, plugin, what) in marker::left_behind(&self.directory) {
            tracing::warn!(plugin, %digest, what, "a process has ended while it used this plugin");
            self.remember(self.crashed(digest, &plugin, &what));
        }
    }

    /// Where the staged copy of a library is kept.
    pub fn copy_of(&self, sha256: &str) -> PathBuf {
        stage::copy_path(&self.directory, sha256)
    }

    /// Whether it can be read, as far as there is one.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> Result<(), HistoryError> {
        self.try_read().map(drop)
    }

    /// How often a host has ended while it opened this backend, since the backend was last open; with
    /// libraries that would still be tried.
    pub fn deaths(&self, backend: &str) -> usize {
        let (what, records) = (what_of(backend), self.read());
        let tried = records.libraries.values().filter(|library| library.quarantined.is_none());
        tried.flat_map(|library| &library.crashes).filter(|crash| crash.what == what).count()
    }

    /// The record of a library.
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
        let libraries = self.try_read()?.libraries.into_iter();
        Ok(libraries.filter(|(_, library)| library.quarantined.is_some()).collect())
    }

    /// Forgets that backends were opened with versions of a plugin that `matches`, so that they do not fall
    /// back to them; answers which. The copies go with the next start of the host.
    ///
    /// # Errors
    ///
    /// When it cannot be written down.
    pub fn forget(
        &self,
        plugin: &str,
        matches: impl Fn(&semver::Version) -> bool,
    ) -> Result<Vec<String>, HistoryError> {
        let is_meant = |opening: &Opening| opening.plugin == plugin && matches(&opening.version);
        let openings = |of: &Openings| {
            [of.current.clone(), of.previous.clone()].into_iter().flatten().collect::<Vec<_>>()
        };
        // Nothing is written if there is nothing to forget.
        if !self.try_read()?.backends.values().flat_map(openings).any(|opening| is_meant(&opening)) {
            return Ok(Vec::new());
        }
        self.edit(|records| {
            let mut forgotten = Vec::new();
            for (backend, openings) in &mut records.backends {
                for place in [&mut openings.current, &mut openings.previous] {
                    if let Some(opening) = place.take_if(|opening| is_meant(opening)) {
                        forgotten
                            .push(format!("{} {} for backend {backend}", opening.plugin, opening.version));
                    }
                }
            }
            forgotten
        })
    }

    /// Releases libraries whose digests begin with `prefix`, or all; answers their digests. Their verdicts
    /// are forgotten too.
    ///
    /// # Errors
    ///
    /// When it cannot be written down.
    pub fn release(&self, prefix: &str) -> Result<Vec<String>, HistoryError> {
        // Nothing is written if there is nothing to release.
        if !self.quarantine()?.iter().any(|(digest, _)| digest.starts_with(prefix)) {
            return Ok(Vec::new());
        }
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

    /// The verdict of an earlier probe by this version of the host, if there is one.
    ///
    /// # Errors
    ///
    /// `Quarantined` after too many crashes; `Refused` if an earlier probe refused it.
    pub fn known(&self, digest: Digest, host: &str) -> Result<Option<Passed>, NotTried> {
        let Some(library) = self.library(digest) else { return Ok(None) };
        if library.quarantined.is_some() {
            let crashes = library.crashes;
            return Err(NotTried::Quarantined(Quarantined { digest, crashes }));
        }
        let holds = |verdict: &Verdict| verdict.host == host && verdict.interface == crate::INTERFACE_VERSION;
        match library.verdict.filter(holds).map(|verdict| verdict.found) {
            None => Ok(None),
            Some(Ok(passed)) => Ok(Some(passed)),
            Some(Err(refused)) => Err(NotTried::Refused(refused)),
        }
    }

    /// Remembers how a probe went. An inconclusive probe is forgotten; a crash is counted.
    pub(crate) fn probed(
        &self,
        digest: Digest,
        plugin: &str,
        host: &str,
        found: &Result<Passed, ProbeError>,
    ) {
        let verdict = match found {
            Ok(passed) => Ok(passed.clone()),
            Err(ProbeError::Refused(refused)) if refused.lasting => Err(refused.clone()),
            Err(error) if error.is_crash() => {
                return self.remember(self.crashed(digest, plugin, &format!("probed, {error}")));
            }
            Err(_) => return,
        };
        let verdict =
            Verdict { host: host.to_owned(), interface: crate::INTERFACE_VERSION.to_owned(), found: verdict };
        self.remember(self.edit_library(digest, plugin, |library| library.verdict = Some(verdict)));
    }

    /// Remembers that a rehearsal has ended its process.
    pub(crate) fn crashed_in_rehearsal(&self, digest: Digest, plugin: &str, error: &ProbeError) {
        self.remember(self.crashed(digest, plugin, &format!("opening an empty store, {error}")));
    }

    /// Marks that the host opens a backend with a library.
    pub(crate) fn begin_opening(&self, digest: Digest, plugin: &str, backend: &str) -> Option<Marker> {
        self.begin(digest, plugin, &what_of(backend))
    }

    /// Marks that the host does something dangerous with a library. If the host ends first, the next host
    /// that finds the mark counts a crash.
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
        // Usually the record is up to date already.
        let what = what_of(backend);
        let is_known = self
            .library(digest)
            .is_some_and(|library| library.worked.is_some() && library.crashes.iter().all(is_of_a_backend));
        if is_known && self.deaths(backend) == 0 && self.openings(backend).current.as_ref() == Some(&opening)
        {
            return;
        }
        let plugin = format!("{} {}", descriptor.name, descriptor.version);
        self.remember(self.edit(|records| {
            let library = records.libraries.entry(digest.to_string()).or_default();
            (library.plugin, library.worked) = (plugin, Some(now()));
            // It cannot be blamed for its loading, and no library for this backend.
            library.crashes.retain(is_of_a_backend);
            for library in records.libraries.values_mut() {
                library.crashes.retain(|crash| crash.what != what);
            }
            let openings = records.backends.entry(backend.to_owned()).or_default();
            if let Some(before) = openings.current.replace(opening)
                && openings.current.as_ref().is_some_and(|current| current.sha256 != before.sha256)
            {
                openings.previous = Some(before);
            }
        }));
    }

    /// The digests that a backend may still fall back to.
    pub(crate) fn referred(&self) -> Result<Vec<String>, HistoryError> {
        let openings = self.try_read()?.backends.into_values();
        let referred = openings
            .flat_map(|openings| [openings.current, openings.previous])
            .flatten()
            .map(|opening| opening.sha256)
            .collect();
        Ok(referred)
    }

    /// Counts a crash. A library that has worked on this machine before is never quarantined for it: machines
    /// fail too.
    fn crashed(&self, digest: Digest, plugin: &str, what: &str) -> Result<(), HistoryError> {
        self.edit_library(digest, plugin, |library| {
            library.crashes.push(Crash { at: now(), what: what.to_owned() });
            let surplus = library.crashes.len().saturating_sub(MAX_CRASHES);
            library.crashes.drain(..surplus);
            if library.worked.is_none() && library.crashes.len() >= CRASHES {
                library.quarantined.get_or_insert_with(now);
            }
        })
    }

    /// A failure to remember something stops no operation.
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
        let path = self.file();
        file::edit(&path, &self.directory, change).map_err(|source| HistoryError { path, source })
    }

    fn file(&self) -> PathBuf {
        self.directory.join("history.json")
    }

    fn try_read(&self) -> Result<Records, HistoryError> {
        let path = self.file();
        file::read(&path).map_err(|source| HistoryError { path, source })
    }

    /// A history that cannot be read stops no operation either: it counts as empty, and a warning says so.
    fn read(&self) -> Records {
        self.try_read().unwrap_or_else(|error| {
            tracing::warn!(error = %crate::Chain(&error), "the history of plugins cannot be read");
            Records::default()
        })
    }
}

/// What a mark says while a backend is opened.
fn what_of(backend: &str) -> String {
    format!("{OPENING}{backend:?}")
}

fn is_of_a_backend(crash: &Crash) -> bool {
    crash.what.starts_with(OPENING)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
