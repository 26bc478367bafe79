//! `keyway plugin`: works on files and the configuration, never on a server. Runs no code of a plugin.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use keyway_loader::{
    Chain, Loader, LockFile, TrustPolicy,
    describe::{Described, describe},
    loader::{Survey, Surveyed},
    stage::stage,
};
use serde_json::json;
use tempfile::TempDir;

use super::{
    failure::Failure,
    output::{Format, pairs, print, table},
};
use crate::{config::Config, server::search_path};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the plugin files in all directories that are searched, and whether they may run.
    List {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// A directory to look for plugins in, before all others. May be repeated.
        #[arg(long)]
        plugin_dir: Vec<PathBuf>,
    },
    /// Say what a plugin file says about itself.
    Info {
        /// The library file.
        file: PathBuf,
    },
    /// Let every plugin file that is found run: writes keyway.lock beside the configuration.
    Lock {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// A directory to look for plugins in, before all others. May be repeated.
        #[arg(long)]
        plugin_dir: Vec<PathBuf>,
    },
}

pub(super) fn run(command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::List { config, plugin_dir } => list(&Config::read(&config)?, &plugin_dir, format),
        Command::Info { file } => info(&file, format),
        Command::Lock { config, plugin_dir } => lock(&Config::read(&config)?, &plugin_dir, format),
    }
}

fn list(config: &Config, plugin_dirs: &[PathBuf], format: Format) -> Result<(), Failure> {
    let (survey, _staging) = survey(config, plugin_dirs)?;
    let mut seen = BTreeSet::new();
    let mut rows = vec![["Plugin", "Version", "Interface", "State", "File"].map(str::to_owned).to_vec()];
    let mut json = Vec::new();
    for Surveyed { candidate, described } in &survey.libraries {
        let (version, interface, state) = match described {
            Ok(described) => {
                let version = described.descriptor.version.clone();
                let shadowed = !seen.insert((candidate.name.clone(), version.clone()));
                let state = match config.trust.verify(described) {
                    Ok(()) if shadowed => "shadowed by an earlier directory".to_owned(),
                    Ok(()) => "locked".to_owned(),
                    Err(error) => format!("refused: {}", Chain(&error)),
                };
                (version.to_string(), described.descriptor.interface.to_string(), state)
            }
            Err(reason) => (String::new(), String::new(), format!("unusable: {reason}")),
        };
        let file = candidate.path.display().to_string();
        json.push(json!({
            "plugin": candidate.name, "version": version, "interface": interface, "state": state, "file": file,
        }));
        rows.push(vec![candidate.name.clone(), version, interface, state, file]);
    }
    let places: Vec<String> = survey.places.iter().map(ToString::to_string).collect();
    print(format, &json!({ "plugins": json, "searched": places }), || {
        let searched: String = places.iter().map(|place| format!("  {place}\n")).collect();
        format!("{}\nSearched:\n{searched}", table(&rows))
    })?;
    Ok(())
}

fn info(file: &Path, format: Format) -> Result<(), Failure> {
    let staging = staging()?;
    let staged = stage(file, &staging.path().join("staged")).map_err(|error| {
        let message = Chain(&error).to_string();
        if file.exists() { Failure::Other(message) } else { Failure::NotFound(message) }
    })?;
    let described = describe(staged).map_err(|error| Failure::Other(Chain(&error).to_string()))?;
    let json: serde_json::Value = serde_json::from_str(&described.descriptor_json)
        .map_err(|error| Failure::Other(format!("the descriptor is not JSON: {error}")))?;
    print(format, &json, || describe_plugin(&described))?;
    Ok(())
}

fn describe_plugin(described: &Described) -> String {
    let descriptor = &described.descriptor;
    let text = pairs(&[
        ("Name", descriptor.name.clone()),
        ("Version", descriptor.version.to_string()),
        ("Description", descriptor.description.clone()),
        ("Interface", format!("{} (this host: {})", descriptor.interface, keyway_loader::INTERFACE_VERSION)),
        ("Platform", descriptor.target()),
        ("Build", format!("{}, panic = {}", descriptor.profile, descriptor.panic)),
        ("Data format", descriptor.data_format.to_string()),
        ("Sharing", descriptor.sharing.clone()),
        ("Licence", descriptor.licence.clone()),
        ("SHA-256", described.staged.digest.to_string()),
    ]);
    let schema = serde_json::to_string_pretty(&descriptor.config_schema).unwrap_or_default();
    format!("{text}\nConfiguration (JSON Schema):\n{schema}\n")
}

fn lock(config: &Config, plugin_dirs: &[PathBuf], format: Format) -> Result<(), Failure> {
    let TrustPolicy::Lock(path) = &config.trust;
    let (survey, _staging) = survey(config, plugin_dirs)?;
    let mut lock = if path.exists() {
        LockFile::read(path).map_err(|error| Failure::Other(Chain(&error).to_string()))?
    } else {
        LockFile::default()
    };
    let (mut locked, mut unusable) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for Surveyed { candidate, described } in &survey.libraries {
        match described {
            Ok(described) => {
                // Of two files with one name and version the first is the one that would be loaded.
                if seen.insert((candidate.name.clone(), described.descriptor.version.clone())) {
                    lock.insert(described);
                    locked.push(format!("{} {}", described.descriptor, described.staged.digest));
                }
            }
            Err(reason) => unusable.push(format!("{}: {reason}", candidate.path.display())),
        }
    }
    if locked.is_empty() {
        let places: Vec<String> = survey.places.iter().map(ToString::to_string).collect();
        let searched = places.join("\n  ");
        return Err(Failure::NotFound(format!("no usable plugin file was found in\n  {searched}")));
    }
    write_whole(path, &lock.to_text())?;
    print(format, &json!({ "lock": path, "locked": locked, "passed_over": unusable }), || {
        let locked: String = locked.iter().map(|line| format!("  {line}\n")).collect();
        let unusable: String = unusable.iter().map(|line| format!("  passed over {line}\n")).collect();
        format!("{} lets these run:\n{locked}{unusable}", path.display())
    })?;
    Ok(())
}

/// Written beside and renamed, so that no reader sees half a lock file.
fn write_whole(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file("write", path, &error);
    let directory = path.parent().unwrap_or(Path::new("."));
    let beside = tempfile::Builder::new().prefix(".keyway-lock-").tempfile_in(directory).map_err(failed)?;
    fs::write(beside.path(), text).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(beside.path(), fs::Permissions::from_mode(0o644)).map_err(failed)?;
    }
    beside.persist(path).map(|_| ()).map_err(|error| failed(error.error))
}

/// The survey, and the directory that must live as long as its staged files are needed.
fn survey(config: &Config, plugin_dirs: &[PathBuf]) -> Result<(Survey, TempDir), Failure> {
    let staging = staging()?;
    let loader = Loader {
        search: search_path(plugin_dirs, &config.plugin_dirs),
        staging_dir: staging.path().join("staged"),
        trust: config.trust.clone(),
    };
    Ok((loader.survey(), staging))
}

fn staging() -> Result<TempDir, Failure> {
    tempfile::tempdir().map_err(|error| Failure::Other(format!("make a temporary directory: {error}")))
}
