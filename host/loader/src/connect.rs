//! Opens a store for a backend: loads the plugin, opens the store, remembers what worked, and falls back to
//! the last one that worked if the wanted plugin cannot be loaded.

mod prune;
mod restore;

use std::{fs, io};

use thiserror::Error;

pub use self::restore::RestoreError;
use crate::{
    BackendConfig, Chain, ConfigureError, Descriptor, Digest, Generation, LoadError, Loader, Origin, Plugin,
    Requirement, Sharing,
    configure::configure,
    discover::{Candidate, discover},
    history::{Marker, Opening},
    loader::{Admitted, PassedOver, StageFailure},
    probe::{ProbeError, Rehearsed},
    report::Fix,
    trust::signed::signature_path,
};

/// The default plugin, next to the program. A backend that asks for it by name gets this copy as the last
/// resort.
const LAST_RESORT: &str = "sqlite";

/// What a backend asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which plugin.
    pub plugin: Requirement,
    /// Whether another version will do if that one cannot be loaded.
    pub fallback: bool,
}

/// Why a backend is not open.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// No plugin could be loaded for it.
    #[error("{load}{}", passed(fallbacks))]
    Load {
        /// What was tried.
        load: Box<LoadError>,
        /// What was tried instead, and why that would not do either.
        fallbacks: Vec<String>,
    },
    /// Its store could not be opened.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
}

impl ConnectError {
    /// Whether another try may succeed without an operator's help: the store was not there.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Load { load, .. } => load.is_transient(),
            Self::Configure(error) => error.is_transient(),
        }
    }

    /// In a few words, without paths.
    pub fn summary(&self) -> String {
        match self {
            Self::Load { load, .. } => load.summary(),
            Self::Configure(error) => error.summary().to_owned(),
        }
    }
}

fn passed(fallbacks: &[String]) -> String {
    fallbacks.iter().map(|line| format!("\n  no fallback: {line}")).collect()
}

/// What a backend would be opened with.
#[derive(Debug, Clone)]
pub struct Foreseen {
    /// The library.
    pub library: Admitted,
    /// Why it is not the plugin that was asked for; none if it is.
    pub fallback: Option<String>,
}

impl Loader {
    /// Loads the plugin for a backend, and says why it is not the wanted one, if it is not. Runs code of it
    /// on this thread, for as long as its initializers take. A library that has not worked on this machine
    /// yet first opens an empty store in a child process.
    ///
    /// # Errors
    ///
    /// `Load`.
    pub fn choose(
        &self,
        wanted: &Wanted,
        backend: &BackendConfig,
    ) -> Result<(Plugin, Option<String>), ConnectError> {
        self.choose_but(wanted, backend, &[])
    }

    /// The same, but for libraries that could not open the store, each with the reason.
    ///
    /// # Errors
    ///
    /// `Load`.
    pub fn choose_but(
        &self,
        wanted: &Wanted,
        backend: &BackendConfig,
        failed: &[(Digest, String)],
    ) -> Result<(Plugin, Option<String>), ConnectError> {
        self.choose_by(wanted, &backend.name, |admitted| {
            let digest = admitted.described.staged.digest;
            match failed.iter().find(|(failed, _)| *failed == digest) {
                Some((_, why)) => Err(StageFailure::Unopened { reason: why.clone() }),
                None => self.take(admitted, backend),
            }
        })
    }

    /// Whether it is worth a try to open a store with another library than this one, which could not: only if
    /// another has opened it before. What has worked last is not to blame.
    pub fn may_be_to_blame(&self, plugin: &Plugin, backend: &str) -> bool {
        let openings = self.history.openings(backend);
        let last = openings.current.map(|opening| opening.sha256);
        last.is_some() && last != plugin.digest().map(|digest| digest.to_string())
    }

    /// Rehearses, unless it has worked before, and maps.
    pub(crate) fn take(&self, admitted: &Admitted, backend: &BackendConfig) -> Result<Plugin, StageFailure> {
        if !self.has_worked(&admitted.described) {
            self.prove(&admitted.described)?;
            self.rehearse(admitted, backend)?;
        }
        self.map(admitted)
    }

    /// Opens a store in a child process.
    pub(crate) fn rehearse(
        &self,
        admitted: &Admitted,
        backend: &BackendConfig,
    ) -> Result<Rehearsed, StageFailure> {
        let described = &admitted.described;
        let plugin = described.descriptor.label();
        let Some(prober) = &self.prober else {
            return Ok(Rehearsed::Skipped("there is no program to do it with".to_owned()));
        };
        if described.descriptor.capabilities.sharing == Sharing::MANY_HOSTS {
            return Ok(Rehearsed::Skipped("its store is elsewhere".to_owned()));
        }
        match prober.rehearse(described, backend, &self.staging_dir) {
            Ok(rehearsed) => {
                if let Rehearsed::Skipped(why) = &rehearsed {
                    tracing::info!(plugin, why, "it was not tried out on an empty store");
                }
                Ok(rehearsed)
            }
            Err(error @ (ProbeError::Start { .. } | ProbeError::Unable { .. })) => {
                tracing::warn!(plugin, %error, "it was not tried out on an empty store");
                Ok(Rehearsed::Skipped(error.to_string()))
            }
            Err(error) => {
                if error.is_crash() {
                    self.history.crashed_in_rehearsal(described.staged.digest, &plugin, &error);
                }
                Err(StageFailure::Rehearse(error))
            }
        }
    }

    /// The library that [`Self::choose`] would load, judged by remembered probes. Runs no code of it.
    ///
    /// # Errors
    ///
    /// `Load`.
    pub fn foresee(&self, wanted: &Wanted, backend: &str) -> Result<Foreseen, ConnectError> {
        let known = |admitted: &Admitted| {
            let known = self.history.known(admitted.described.staged.digest, &self.host);
            known.map(|_| admitted.clone()).map_err(StageFailure::from)
        };
        let (library, fallback) = self.choose_by(wanted, backend, known)?;
        Ok(Foreseen { library, fallback })
    }

    fn choose_by<T>(
        &self,
        wanted: &Wanted,
        backend: &str,
        take: impl Fn(&Admitted) -> Result<T, StageFailure>,
    ) -> Result<(T, Option<String>), ConnectError> {
        let openings = self.history.openings(backend);
        // Another plugin's store is another store, whose format says nothing.
        let own = |opening: &&Opening| opening.plugin == wanted.plugin.name();
        let before: Vec<&Opening> =
            [&openings.current, &openings.previous].into_iter().flatten().filter(own).collect();
        // That of the last opening: the one before may have been of another store, in whose place a backup
        // was put since.
        let format = before.first().map(|opening| opening.data_format);
        let kept = |admitted: &Admitted| {
            let digest = admitted.described.staged.digest.to_string();
            if openings.set_aside.contains(&digest) { Err(StageFailure::SetAside) } else { take(admitted) }
        };
        let load = match self.first_usable(&wanted.plugin, format, kept) {
            Ok(taken) => return Ok((taken, None)),
            Err(load) => load,
        };
        // Before nothing serves at all, what was rolled back has to.
        let rolled_back = || {
            if openings.set_aside.is_empty() {
                return None;
            }
            let taken = self.first_usable(&wanted.plugin, format, &take).ok()?;
            Some((taken, Some("it was rolled back, and nothing else can be used".to_owned())))
        };
        if !wanted.fallback {
            let fallbacks = vec!["the configuration says fallback = false".to_owned()];
            return rolled_back().ok_or(ConnectError::Load { load, fallbacks });
        }
        let mut fallbacks = Vec::new();
        for opening in before {
            match self.reopen(opening, format).and_then(|admitted| kept(&admitted)) {
                Ok(taken) => {
                    return Ok((taken, Some(format!("it worked last for this backend, and {load}"))));
                }
                Err(error) => fallbacks.push(format!(
                    "{} {} ({}), which worked before: {error}; {}",
                    opening.plugin,
                    opening.version,
                    opening.sha256,
                    error.fix()
                )),
            }
        }
        if fallbacks.is_empty() {
            fallbacks.push("no version has worked for this backend before".to_owned());
        }
        if wanted.plugin.name() == LAST_RESORT {
            match self.last_resort(&load, format, kept) {
                Ok(taken) => {
                    return Ok((taken, Some(format!("it is the one next to the program, and {load}"))));
                }
                Err(lines) => fallbacks.extend(lines),
            }
        }
        rolled_back().ok_or(ConnectError::Load { load, fallbacks })
    }

    /// The digests of all versions of a plugin that are newer than one of them.
    pub(crate) fn newer_than(&self, descriptor: &Descriptor) -> Vec<Digest> {
        let candidates = discover(&self.search).candidates.into_iter();
        let named = candidates.filter(|candidate| candidate.name == descriptor.name);
        let newer = named.filter_map(|candidate| {
            let described = self.describe(&candidate).ok()?;
            (described.descriptor.version > descriptor.version).then_some(described.staged.digest)
        });
        newer.collect()
    }

    /// The staged copy of a library that worked before, if it is whole and may still run.
    pub(crate) fn reopen(&self, opening: &Opening, format: Option<u32>) -> Result<Admitted, StageFailure> {
        let path = self.history.copy_of(&opening.sha256);
        let candidate = Candidate { path, name: opening.plugin.clone(), place: opening.place.clone() };
        let admitted = self.admit(&candidate, &Requirement::any(&opening.plugin), format)?;
        let digest = admitted.described.staged.digest;
        if digest.to_string() == opening.sha256 { Ok(admitted) } else { Err(StageFailure::Altered(digest)) }
    }

    fn last_resort<T>(
        &self,
        load: &LoadError,
        format: Option<u32>,
        take: impl Fn(&Admitted) -> Result<T, StageFailure>,
    ) -> Result<T, Vec<String>> {
        let bundled: Vec<_> =
            self.search.iter().filter(|place| place.origin == Origin::Bundled).cloned().collect();
        let mut lines = Vec::new();
        for candidate in discover(&bundled).candidates {
            // What was refused for anything but its version is not tried a second time.
            let is_refused = |passed: &PassedOver| {
                passed.path == candidate.path && !matches!(passed.reason, StageFailure::Version(_))
            };
            if candidate.name != LAST_RESORT || load.passed_over.iter().any(is_refused) {
                continue;
            }
            let admitted = self.admit(&candidate, &Requirement::any(LAST_RESORT), format);
            match admitted.and_then(|admitted| take(&admitted)) {
                Ok(taken) => return Ok(taken),
                Err(error) => {
                    let path = candidate.path.display();
                    lines.push(format!("{path}, next to the program: {error}; {}", error.fix()));
                }
            }
        }
        Err(lines)
    }

    /// Marks that a backend is being opened, until the marker is dropped. If the process ends before that,
    /// the next process that opens this history counts a crash of the plugin.
    pub fn mark_opening(&self, plugin: &Plugin, backend: &str) -> Option<Marker> {
        self.history.begin_opening(plugin.digest()?, &plugin.descriptor().label(), backend)
    }

    /// Opens a backend's store with a plugin, and remembers that it worked. `fallback` says why it is not the
    /// plugin that was asked for. The caller holds a mark ([`Self::mark_opening`]) and has its own deadline.
    ///
    /// # Errors
    ///
    /// `Configure`.
    pub async fn open_store(
        &self,
        plugin: &Plugin,
        fallback: Option<String>,
        backend: &BackendConfig,
    ) -> Result<Generation, ConnectError> {
        let generation = configure(plugin, backend).await?;
        self.remember(&generation);
        let used = plugin.descriptor().label();
        Ok(generation.fallen_back(fallback.map(|why| format!("{used} is used: {why}"))))
    }

    /// Remembers that a backend works with its plugin.
    pub(crate) fn remember(&self, generation: &Generation) {
        let (plugin, backend) = (generation.plugin(), generation.backend());
        let (Some(digest), Some(place)) = (plugin.digest(), plugin.place()) else { return };
        if let Err(error) = self.keep_signature(plugin, digest) {
            tracing::warn!(backend, error = %Chain(&error), "a signature is not kept for a fallback");
        }
        let format = generation.capabilities().data_format;
        self.history.worked(backend, digest, plugin.descriptor(), format, place);
    }

    /// Kept next to the staged copy, where a fallback looks for it after the library is gone.
    fn keep_signature(&self, plugin: &Plugin, digest: Digest) -> io::Result<()> {
        let Some(source) = plugin.source() else { return Ok(()) };
        let staged = self.history.copy_of(&digest.to_string());
        let (from, to) = (signature_path(source), signature_path(&staged));
        if from == to {
            return Ok(());
        }
        match fs::read(&from) {
            Ok(signature) => fs::write(&to, signature),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
