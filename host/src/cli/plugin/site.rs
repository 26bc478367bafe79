//! What a server would do with its plugins.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use keyway_loader::{
    Chain, Digest, History, Loader, Origin, SearchPath, configure::check_settings, connect::Foreseen,
    describe::Described, discover::Candidate,
};
use keyway_server::{self as server, config::Config};
use keyway_terminal::files::{read_into, staging};
use tempfile::TempDir;

use crate::cli::failure::{Failure, of_config};

/// Which configuration, and where plugins are looked for.
#[derive(Debug, Args)]
pub(in crate::cli) struct SiteArguments {
    /// The configuration file.
    #[arg(long)]
    pub(super) config: PathBuf,
    /// A directory to look for plugins in, before all others. May be repeated.
    #[arg(long)]
    pub(super) plugin_dir: Vec<PathBuf>,
}

/// A configuration with a loader that stages elsewhere than the server does.
pub(super) struct Site {
    pub(super) config: Config,
    pub(super) loader: Loader,
    /// What the server remembers.
    pub(super) history: History,
    _staging: TempDir,
}

impl Site {
    pub(super) fn open(arguments: &SiteArguments) -> Result<Self, Failure> {
        let config = Config::read(&arguments.config).map_err(of_config)?;
        // Where the server's own copies lie libraries can be loaded from, which not every directory for
        // temporary files lets be.
        let staging = tempfile::Builder::new()
            .prefix(".plugins-")
            .tempdir_in(&config.data_dir)
            .or_else(|_| staging())?;
        let mut loader = server::loader(&config, &arguments.plugin_dir)
            .map_err(|error| Failure::Other(format!("find this program's own file: {error}")))?;
        loader.staging_dir = staging.path().join("staged");
        // This process keeps its findings to itself, and does not write them into the server's history.
        let history = std::mem::replace(&mut loader.history, History::new(staging.path().join("history")));
        Ok(Self { config, loader, history, _staging: staging })
    }

    /// The loader as the server has it, but for where it stages: to foresee, not to load.
    pub(super) fn servers(&self) -> Result<Loader, Failure> {
        self.history.check().map_err(|error| {
            let message = Chain(&error).to_string();
            Failure::Other(format!("{message}; run this as the server's user or as root"))
        })?;
        Ok(Loader { history: self.history.clone(), ..self.loader.clone() })
    }

    /// What the server would do for a backend: a line, and whether there is a plugin that suits its settings.
    /// `found` has the problems of libraries that this process found and the server does not know.
    pub(super) fn foresee(&self, servers: &Loader, name: &str, found: &[(Digest, String)]) -> (String, bool) {
        let Some(settings) = self.config.backends.get(name) else { return (String::new(), false) };
        match servers.foresee(&settings.wanted, name) {
            Err(error) => (error.to_string(), false),
            Ok(Foreseen { library, fallback }) => {
                let described = &library.described;
                let uses = format!("uses {} ({})", described.staged.source.display(), library.grant);
                let uses = fallback.map_or(uses.clone(), |why| format!("FALLBACK: {uses}: {why}"));
                let digest = described.staged.digest;
                if let Some((_, reason)) = found.iter().find(|(of, _)| *of == digest) {
                    return (format!("{uses}, but {reason}"), false);
                }
                let crashes = self.history.library(digest).map(|library| library.crashes).unwrap_or_default();
                let uses = match crashes.last() {
                    Some(last) => {
                        format!("{uses}; it has crashed {} times, last: {}", crashes.len(), last.what)
                    }
                    None => uses,
                };
                match check_settings(&described.descriptor, name, &settings.config) {
                    Ok(()) => (uses, true),
                    Err(error) => (format!("{uses}, but {error}"), false),
                }
            }
        }
    }

    /// What may make the server see it otherwise.
    pub(super) fn caveats(&self) -> Vec<String> {
        let mut caveats = Vec::new();
        if self.config.trust.has_unchecked() {
            caveats.push("policy none: the server starts only with --dev".to_owned());
        }
        #[cfg(unix)]
        if let Ok(data) = fs::metadata(&self.config.data_dir) {
            let (own, owner) =
                (rustix::process::geteuid().as_raw(), std::os::unix::fs::MetadataExt::uid(&data));
            if own != owner {
                caveats.push(format!("judged as user {own}, and the server's files belong to user {owner}"));
            }
        }
        caveats
    }

    /// A file's description, staged where it can be loaded from.
    pub(super) fn read(&self, file: &Path) -> Result<Described, Failure> {
        read_into(file, &self.loader.staging_dir)
    }

    /// A file that is named, as if its directory were searched.
    pub(super) fn candidate(path: &Path) -> Candidate {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        let name = keyway_loader::discover::plugin_name(path).unwrap_or_default();
        Candidate {
            path: path.to_owned(),
            name,
            place: SearchPath { directory, origin: Origin::CommandLine },
        }
    }
}

/// What the server would do for each backend, by the name of the backend.
pub(in crate::cli) fn foresee(config: &Path) -> Result<Vec<(String, String)>, Failure> {
    let site = Site::open(&SiteArguments { config: config.to_owned(), plugin_dir: Vec::new() })?;
    let servers = site.servers()?;
    let backends = site.config.backends.keys();
    let mut lines: Vec<(String, String)> =
        backends.map(|name| (name.clone(), site.foresee(&servers, name, &[]).0)).collect();
    lines.extend(site.caveats().into_iter().map(|line| ("files".to_owned(), line)));
    Ok(lines)
}
