//! `keyway plugin`: works on files and the configuration, never on a server. Code of a plugin runs in a child process, and only
//! for `conform`, `doctor` and `install`.

pub(super) mod conform;
mod doctor;
mod install;
mod list;
mod lock;
mod quarantine;
mod sign;
mod why;

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use keyway_loader::{
    Chain, Digest, Fix, History, Loader, Origin, SearchPath,
    configure::check_settings,
    connect::Foreseen,
    describe::{Described, describe},
    discover::Candidate,
    loader::{Diagnosis, StageFailure},
    stage::stage,
};
use keyway_server::{self as server, config::Config};
use tempfile::TempDir;

use super::{
    failure::Failure,
    output::{Format, pairs, print},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Put a plugin file through the conformance suite: exit code 5 where a promise is broken.
    Conform(conform::Arguments),
    /// List the plugin files in all directories that are searched, and whether they may run.
    List {
        #[command(flatten)]
        site: SiteArguments,
    },
    /// Say what a plugin file says about itself. Runs no code of it.
    Info {
        /// The library file.
        file: PathBuf,
    },
    /// Let plugin files run: writes keyway.lock beside the configuration.
    Lock {
        #[command(flatten)]
        site: SiteArguments,
        /// These files, for whatever platform they are built; without any, all that are found.
        files: Vec<PathBuf>,
    },
    /// Say whether plugin files may run, and why; exit code 5 where one may not.
    Verify {
        #[command(flatten)]
        site: SiteArguments,
        /// These files; without any, all that are found.
        files: Vec<PathBuf>,
    },
    /// Sign a plugin file in minisign's format: writes FILE.minisig.
    Sign(sign::Arguments),
    /// Make a key pair to sign plugins with: writes FILE and FILE.pub.
    NewKey(sign::NewKeyArguments),
    /// Put a plugin file into a directory of plugins, once it is known that it may run and can be loaded.
    Install(install::InstallArguments),
    /// Take a plugin's files out of the configured directories and out of keyway.lock.
    Remove(install::RemoveArguments),
    /// Say which file of a plugin is used, and why each other one is not.
    Why {
        #[command(flatten)]
        site: SiteArguments,
        /// The plugin's name, or name@requirement as in the configuration.
        plugin: String,
    },
    /// Plugins that are not tried again because they crash whoever loads them.
    Quarantine {
        #[command(subcommand)]
        command: quarantine::Command,
    },
    /// Take every plugin file through all stages, in a child process where it is loaded, and say how far each comes.
    Doctor {
        #[command(flatten)]
        site: SiteArguments,
        /// Show all of what is known about each refusal.
        #[arg(long)]
        verbose: bool,
    },
}

/// Which configuration, and where plugins are looked for.
#[derive(Debug, Args)]
pub(super) struct SiteArguments {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// A directory to look for plugins in, before all others. May be repeated.
    #[arg(long)]
    plugin_dir: Vec<PathBuf>,
}

/// A configuration with a loader that stages elsewhere than the server does.
struct Site {
    config: Config,
    loader: Loader,
    /// What the server remembers.
    history: History,
    _staging: TempDir,
}

impl Site {
    fn open(arguments: &SiteArguments) -> Result<Self, Failure> {
        let config = Config::read(&arguments.config)?;
        // Where the server's own copies lie libraries can be loaded from, which not every directory for temporary files lets be.
        let staging = tempfile::Builder::new()
            .prefix(".plugins-")
            .tempdir_in(&config.data_dir)
            .or_else(|_| staging())?;
        let mut loader = server::loader(&config, &arguments.plugin_dir)
            .map_err(|error| Failure::Other(format!("find this program's own file: {error}")))?;
        loader.staging_dir = staging.path().join("staged");
        // What is found out here is found out anew, and not written into the server's history.
        let history = std::mem::replace(&mut loader.history, History::new(staging.path().join("history")));
        Ok(Self { config, loader, history, _staging: staging })
    }

    /// The loader as the server has it, but for where it stages: to foresee, not to load.
    fn servers(&self) -> Result<Loader, Failure> {
        self.history.check().map_err(|error| {
            let message = Chain(&error).to_string();
            Failure::Other(format!("{message}; run this as the server's user or as root"))
        })?;
        Ok(Loader { history: self.history.clone(), ..self.loader.clone() })
    }

    /// What the server would do for a backend: a line, and whether there is a plugin for it and its settings suit it. What is
    /// known to be wrong with a library beyond what the server remembers is in `found`.
    fn foresee(&self, servers: &Loader, name: &str, found: &[(Digest, String)]) -> (String, bool) {
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
    fn caveats(&self) -> Vec<String> {
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
    fn read(&self, file: &Path) -> Result<Described, Failure> {
        read_into(file, &self.loader.staging_dir)
    }

    /// A file that is named, as if its directory were searched.
    fn candidate(path: &Path) -> Candidate {
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

pub(super) fn run(command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::Conform(arguments) => conform::conform(&arguments, format),
        Command::List { site } => list::list(&Site::open(&site)?, format),
        Command::Info { file } => info(&file, format),
        Command::Lock { site, files } => lock::lock(&Site::open(&site)?, &files, format),
        Command::Verify { site, files } => list::verify(&Site::open(&site)?, &files, format),
        Command::Sign(arguments) => sign::sign(&arguments, format),
        Command::NewKey(arguments) => sign::new_key(&arguments, format),
        Command::Install(arguments) => install::install(&arguments, format),
        Command::Remove(arguments) => install::remove(&arguments, format),
        Command::Why { site, plugin } => why::why(&Site::open(&site)?, &plugin, format),
        Command::Quarantine { command } => quarantine::run(command, format),
        Command::Doctor { site, verbose } => doctor::doctor(&Site::open(&site)?, verbose, format),
    }
}

/// What the server would do for each backend, by the name of the backend.
pub(super) fn foresee(config: &Path) -> Result<Vec<(String, String)>, Failure> {
    let site = Site::open(&SiteArguments { config: config.to_owned(), plugin_dir: Vec::new() })?;
    let servers = site.servers()?;
    let backends = site.config.backends.keys();
    let mut lines: Vec<(String, String)> =
        backends.map(|name| (name.clone(), site.foresee(&servers, name, &[]).0)).collect();
    lines.extend(site.caveats().into_iter().map(|line| ("files".to_owned(), line)));
    Ok(lines)
}

fn info(file: &Path, format: Format) -> Result<(), Failure> {
    let (described, _staging) = read(file)?;
    let json: serde_json::Value = serde_json::from_str(&described.descriptor_json)
        .map_err(|error| Failure::Other(format!("the descriptor is not JSON: {error}")))?;
    print(format, &json, || describe_plugin(&described))?;
    Ok(())
}

fn describe_plugin(described: &Described) -> String {
    let descriptor = &described.descriptor;
    let or_none = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let text = pairs(&[
        ("Name", descriptor.name.clone()),
        ("Version", descriptor.version.to_string()),
        ("Description", descriptor.description.clone()),
        ("Interface", format!("{} (this host: {})", descriptor.interface, keyway_loader::INTERFACE_VERSION)),
        ("Platform", descriptor.target()),
        ("Build", format!("{}, panic = {}", descriptor.profile, descriptor.panic)),
        ("Data format", descriptor.data_format.to_string()),
        ("Sharing", descriptor.sharing.clone()),
        ("Durability", descriptor.capabilities.durability.name().to_owned()),
        ("Isolation", descriptor.capabilities.isolation.name().to_owned()),
        ("Backup", descriptor.capabilities.backup.name().to_owned()),
        ("Features", descriptor.capabilities.features.names().join(", ")),
        ("Operations of its own", or_none(&descriptor.extensions)),
        ("Licence", descriptor.licence.clone()),
        ("Homepage", descriptor.homepage.clone()),
        ("Needs", or_none(&described.links.needed)),
        ("SHA-256", described.staged.digest.to_string()),
    ]);
    let schema = serde_json::to_string_pretty(&descriptor.config_schema).unwrap_or_default();
    format!("{text}\nConfiguration (JSON Schema):\n{schema}\n")
}

/// A file's description, and the directory of its copy.
fn read(file: &Path) -> Result<(Described, TempDir), Failure> {
    let staging = staging()?;
    let described = read_into(file, &staging.path().join("staged"))?;
    Ok((described, staging))
}

fn read_into(file: &Path, directory: &Path) -> Result<Described, Failure> {
    let refused = |error: StageFailure| {
        let message = format!("{error}; {}", error.fix());
        if file.exists() { Failure::Other(message) } else { Failure::NotFound(message) }
    };
    let staged = stage(file, directory).map_err(|error| refused(StageFailure::Stage(error)))?;
    describe(staged).map_err(|error| refused(StageFailure::Describe(error)))
}

fn staging() -> Result<TempDir, Failure> {
    tempfile::tempdir().map_err(|error| Failure::Other(format!("make a temporary directory: {error}")))
}

/// Written beside and renamed, so that no reader sees half a file and nobody who has the old one mapped is harmed.
fn write_whole(path: &Path, contents: &[u8]) -> Result<(), Failure> {
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

fn chain(error: &dyn std::error::Error) -> Failure {
    Failure::Other(Chain(error).to_string())
}

/// The versions and digests of a file, as far as they are known.
fn identity(diagnosis: &Diagnosis) -> (String, String, Option<Digest>) {
    diagnosis.described.as_ref().map_or_else(Default::default, |described| {
        let descriptor = &described.descriptor;
        (descriptor.version.to_string(), descriptor.interface.to_string(), Some(described.staged.digest))
    })
}
