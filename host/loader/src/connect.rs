//! From what a backend asks for to an open store: loads the plugin, opens the store, remembers what worked, and falls back to
//! what worked last where the plugin that is asked for cannot be loaded.

use std::{fs, io, path::Path};

use thiserror::Error;

use crate::{
    BackendConfig, Chain, ConfigureError, Digest, Generation, LoadError, Loader, Origin, Plugin, Requirement,
    configure::configure,
    discover::{Candidate, discover},
    history::{Marker, Opening},
    loader::{Admitted, StageFailure},
    report::Fix,
    trust::signed::signature_path,
};

/// The plugin that is tried last for whoever asks for it, from beside the program: the default one.
const LAST_RESORT: &str = "sqlite";
/// Files of the staging directory that are looked at when old copies are removed.
const MAX_STAGED: usize = 10_000;

/// What a backend asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which plugin.
    pub plugin: Requirement,
    /// Whether another version will do where that one cannot be loaded.
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
    /// Whether it may be another time without anybody's doing: the store was not there.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Load { load, .. } => load.is_passing(),
            Self::Configure(error) => error.is_passing(),
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

impl Loader {
    /// Loads the plugin for a backend. Runs code of it on this thread, for as long as its initializers take.
    ///
    /// # Errors
    ///
    /// `Load`.
    pub fn choose(&self, wanted: &Wanted, backend: &str) -> Result<(Plugin, Option<String>), ConnectError> {
        let openings = self.history.openings(backend);
        // Another plugin's store is another store, whose format says nothing.
        let own = |opening: &&Opening| opening.plugin == wanted.plugin.name();
        let format = openings.current.as_ref().filter(own).map(|opening| opening.data_format);
        let load = match self.load_for(&wanted.plugin, format) {
            Ok(plugin) => return Ok((plugin, None)),
            Err(load) => load,
        };
        if !wanted.fallback {
            return Err(ConnectError::Load {
                load,
                fallbacks: vec!["the configuration says fallback = false".to_owned()],
            });
        }
        let mut fallbacks = Vec::new();
        for opening in [&openings.current, &openings.previous].into_iter().flatten().filter(own) {
            match self.reopen(opening, format) {
                Ok(plugin) => {
                    let why = format!("it worked last for this backend, and {load}");
                    return Ok((plugin, Some(why)));
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
            match self.last_resort(format) {
                Ok(plugin) => {
                    return Ok((plugin, Some(format!("it is the one beside the program, and {load}"))));
                }
                Err(lines) => fallbacks.extend(lines),
            }
        }
        Err(ConnectError::Load { load, fallbacks })
    }

    /// The staged copy of a library that worked before, if it may still run.
    fn reopen(&self, opening: &Opening, format: Option<u32>) -> Result<Plugin, StageFailure> {
        let path = self.staging_dir.join(format!("{}{}", opening.sha256, std::env::consts::DLL_SUFFIX));
        let candidate = Candidate { path, name: opening.plugin.clone(), place: opening.place.clone() };
        let admitted = self.admit(&candidate, &Requirement::any(&opening.plugin), format)?;
        self.map(&admitted)
    }

    fn last_resort(&self, format: Option<u32>) -> Result<Plugin, Vec<String>> {
        let bundled: Vec<_> =
            self.search.iter().filter(|place| place.origin == Origin::Bundled).cloned().collect();
        let found =
            discover(&bundled).candidates.into_iter().filter(|candidate| candidate.name == LAST_RESORT);
        let mut lines = Vec::new();
        for candidate in found {
            let loaded = self.admit(&candidate, &Requirement::any(LAST_RESORT), format);
            match loaded.and_then(|admitted: Admitted| self.map(&admitted)) {
                Ok(plugin) => return Ok(plugin),
                Err(error) => {
                    lines.push(format!(
                        "{}, beside the program: {error}; {}",
                        candidate.path.display(),
                        error.fix()
                    ));
                }
            }
        }
        Err(lines)
    }

    /// Marks that a backend is being opened, until the marker is dropped. Should the process end before, whoever opens this
    /// history next counts a crash of the plugin.
    pub fn mark_opening(&self, plugin: &Plugin, backend: &str) -> Option<Marker> {
        let name = format!("{} {}", plugin.descriptor().name, plugin.descriptor().version);
        self.history.begin(plugin.digest()?, &name, &format!("opening backend {backend:?}"))
    }

    /// Opens a backend's store with a plugin, and remembers that it worked. `fallback` says why it is not the plugin that was
    /// asked for. The caller holds a mark ([`Self::mark_opening`]) and has its own deadline.
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
        if let (Some(digest), Some(place)) = (plugin.digest(), plugin.place()) {
            if let Err(error) = self.keep_signature(plugin, digest) {
                tracing::warn!(backend = backend.name, error = %Chain(&error), "a signature is not kept for a fallback");
            }
            let format = generation.capabilities().data_format;
            self.history.worked(&backend.name, digest, plugin.descriptor(), format, place);
        }
        Ok(generation.fallen_back(fallback))
    }

    /// Beside the staged copy, where a fallback looks for it once the library is gone.
    fn keep_signature(&self, plugin: &Plugin, digest: Digest) -> io::Result<()> {
        let Some(source) = plugin.source() else { return Ok(()) };
        let staged = self.staging_dir.join(format!("{digest}{}", std::env::consts::DLL_SUFFIX));
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

    /// Removes staged copies that nothing falls back to: all but those that are given and those of the backends' current and
    /// previous openings.
    pub fn prune(&self, in_use: &[Digest]) {
        let mut kept = self.history.referred();
        kept.extend(in_use.iter().map(Digest::to_string));
        let Ok(entries) = fs::read_dir(&self.staging_dir) else { return };
        for path in entries.take(MAX_STAGED).filter_map(Result::ok).map(|entry| entry.path()) {
            let digest = digest_of(&path);
            if digest.is_some_and(|digest| !kept.contains(&digest))
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), %error, "an old staged copy is not removed");
            }
        }
    }
}

/// By the file's name; of a copy, of its signature, and of nothing else.
fn digest_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".minisig").unwrap_or(name);
    let digest = name.strip_suffix(std::env::consts::DLL_SUFFIX)?;
    Digest::parse(digest).map(|digest| digest.to_string())
}
