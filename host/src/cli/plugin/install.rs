//! `keyway plugin install` and `remove`.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use keyway_loader::{
    Digest, Fix, Origin, Policy, Requirement, SearchPath,
    check::check,
    describe::Described,
    discover::{Candidate, discover},
    loader::{Depth, StageFailure},
    trust::signed::signature_path,
};
use serde_json::json;

use super::{
    Site, SiteArguments, chain,
    lock::{read_lock, write_lock},
    read, write_whole,
};
use crate::cli::{
    failure::Failure,
    output::{Format, print},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct InstallArguments {
    #[command(flatten)]
    site: SiteArguments,
    /// The library file; its signature is taken along where FILE.minisig is there.
    file: PathBuf,
    /// The directory; without it the first of plugin_dirs in the configuration.
    #[arg(long)]
    to: Option<PathBuf>,
    /// Write the file's digest into keyway.lock: you vouch for it.
    #[arg(long)]
    lock: bool,
    /// Take the place of another build of the same version.
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RemoveArguments {
    #[command(flatten)]
    site: SiteArguments,
    /// The plugin's name, or name@requirement for some of its versions: sqlite@=1.2.0.
    plugin: String,
}

fn refused(failure: &StageFailure) -> Failure {
    let message = format!("{failure}; {}", failure.fix());
    match failure {
        StageFailure::Trust(_) => Failure::Refused(message),
        _ => Failure::Other(message),
    }
}

pub(super) fn install(arguments: &InstallArguments, format: Format) -> Result<(), Failure> {
    let InstallArguments { site, file, to, lock, replace } = arguments;
    let site = Site::open(site)?;
    let (described, _staging) = read(file)?;
    let descriptor = described.descriptor.clone();
    check(&described, &descriptor.name, &site.loader.libraries)
        .map_err(|error| refused(&StageFailure::Check(error)))?;
    let directory = directory(&site, to.as_deref())?;
    let place = SearchPath { directory: directory.clone(), origin: Origin::Configuration };
    let policy = site.loader.trust.policy_of(&place).map_err(|error| refused(&StageFailure::Trust(error)))?;
    let stem = format!("{DLL_PREFIX}keyway_{}-{}", descriptor.name.replace('-', "_"), descriptor.version);
    let target = directory.join(format!("{stem}{DLL_SUFFIX}"));
    let present = present(&target)?;
    if present.is_some_and(|digest| digest != described.staged.digest) && !replace {
        return Err(Failure::Refused(format!(
            "{} is there already with SHA-256 {}; remove it first, or say --replace",
            target.display(),
            present.map(|digest| digest.to_string()).unwrap_or_default()
        )));
    }
    if policy == Policy::Lock && *lock {
        let path = &site.config.trust.lock_file;
        let mut locked = read_lock(path)?;
        locked.insert(&described);
        write_lock(path, &locked)?;
    }
    // The owner's policy judges the file where it will lie; the others can judge it where it is.
    if policy != Policy::Owner {
        site.loader.trust.verify(&described, &place).map_err(|error| refused(&StageFailure::Trust(error)))?;
    }
    site.loader.prove(&described).map_err(|failure| refused(&failure))?;
    put(&described, file, &target)?;
    let candidate = Candidate { path: target.clone(), name: descriptor.name.clone(), place };
    let diagnosis = site.loader.diagnose(candidate, Depth::Trust);
    if let Some(failure) = &diagnosis.failure {
        return Err(refused(failure));
    }
    let grant = diagnosis.grant.map(|grant| grant.to_string()).unwrap_or_default();
    let digest = described.staged.digest.to_string();
    print(
        format,
        &json!({ "plugin": descriptor.to_string(), "file": target, "trust": grant, "sha256": digest }),
        || {
            format!(
                "{descriptor} is installed: {} ({grant})\nRestart the server to use it.\n",
                target.display()
            )
        },
    )
}

fn directory(site: &Site, to: Option<&Path>) -> Result<PathBuf, Failure> {
    let directory = match to {
        Some(to) => std::path::absolute(to).map_err(|error| Failure::file("find", to, &error))?,
        None => site.config.plugin_dirs.first().cloned().ok_or_else(|| {
            Failure::Usage("the configuration has no plugin_dirs; write it, or say --to DIRECTORY".to_owned())
        })?,
    };
    if directory.is_dir() {
        return Ok(directory);
    }
    Err(Failure::NotFound(format!("{0} is no directory; make it: mkdir -p {0}", directory.display())))
}

/// The digest of the file that is there already.
fn present(target: &Path) -> Result<Option<Digest>, Failure> {
    match fs::read(target) {
        Ok(bytes) => Ok(Some(Digest::of(&bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file("read", target, &error)),
    }
}

/// The copy that was verified, and its signature.
fn put(described: &Described, file: &Path, target: &Path) -> Result<(), Failure> {
    let staged = &described.staged.path;
    let library = fs::read(staged).map_err(|error| Failure::file("read", staged, &error))?;
    let signature = signature_path(file);
    match fs::read(&signature) {
        Ok(bytes) => write_whole(&signature_path(target), &bytes)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::file("read", &signature, &error)),
    }
    write_whole(target, &library)
}

pub(super) fn remove(arguments: &RemoveArguments, format: Format) -> Result<(), Failure> {
    let site = Site::open(&arguments.site)?;
    let wanted = Requirement::parse(&arguments.plugin).map_err(Failure::Usage)?;
    // The directories that are configured or named; what a package or another user has put elsewhere is theirs.
    let own = |place: &SearchPath| matches!(place.origin, Origin::CommandLine | Origin::Configuration);
    let search: Vec<SearchPath> = site.loader.search.iter().filter(|place| own(place)).cloned().collect();
    let discovered = discover(&search);
    let mut removed = Vec::new();
    for candidate in discovered.candidates.iter().filter(|candidate| candidate.name == wanted.name()) {
        let path = &candidate.path;
        // A file that cannot be described is removed only when all versions are.
        let matches = match read(path) {
            Ok((described, _staging)) => wanted.admits(&described.descriptor.version),
            Err(_) => wanted.is_any(),
        };
        if matches {
            fs::remove_file(path).map_err(|error| Failure::file("remove", path, &error))?;
            let signature = signature_path(path);
            if signature.exists() {
                fs::remove_file(&signature).map_err(|error| Failure::file("remove", &signature, &error))?;
            }
            removed.push(path.display().to_string());
        }
    }
    let unlocked = unlock(&site, &wanted)?;
    if removed.is_empty() && unlocked.is_empty() {
        let places: Vec<String> = discovered.places.iter().map(ToString::to_string).collect();
        return Err(Failure::NotFound(format!("there is no {wanted} in\n  {}", places.join("\n  "))));
    }
    let used: Vec<&str> = site
        .config
        .backends
        .iter()
        .filter(|(_, settings)| settings.wanted.plugin.name() == wanted.name())
        .map(|(name, _)| name.as_str())
        .collect();
    print(format, &json!({ "removed": removed, "unlocked": unlocked, "used_by": used }), || {
        let lines = |what: &str, items: &[String]| -> String {
            items.iter().map(|item| format!("{what} {item}\n")).collect()
        };
        let mut text = lines("Removed", &removed) + &lines("No longer locked:", &unlocked);
        if !used.is_empty() {
            text += &format!("The configuration uses {} for: {}\n", wanted.name(), used.join(", "));
        }
        text
    })
}

/// Takes the versions out of the lock file, where there is one.
fn unlock(site: &Site, wanted: &Requirement) -> Result<Vec<String>, Failure> {
    let path = &site.config.trust.lock_file;
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut lock = keyway_loader::LockFile::read(path).map_err(|error| chain(&error))?;
    let removed = lock.remove(|entry| entry.name == wanted.name() && wanted.admits(&entry.version));
    if !removed.is_empty() {
        write_lock(path, &lock)?;
    }
    Ok(removed.iter().map(|entry| format!("{} {} for {}", entry.name, entry.version, entry.target)).collect())
}
