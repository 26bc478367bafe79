//! `keyway plugin install` and `remove`.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use keyway_loader::{
    Digest, Fix, LockFile, LockedPlugin, Origin, Policy, Requirement, SearchPath,
    check::check,
    describe::Described,
    discover::{Candidate, discover},
    loader::{Depth, StageFailure},
    trust::{TrustError, signed::signature_path},
};
use keyway_terminal::files::{chain, write_whole};
use keyway_terminal::output::{Format, print};
use serde_json::json;

use super::{
    lock::{read_lock, write_lock},
    site::{Site, SiteArguments},
};
use crate::cli::failure::Failure;

#[derive(Debug, Args)]
pub(in crate::cli) struct InstallArguments {
    #[command(flatten)]
    site: SiteArguments,
    /// The library file; its signature is taken along if FILE.minisig is there.
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
    let described = site.read(file)?;
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
    if *lock && policy != Policy::Lock {
        let message =
            format!("{} is judged by the policy {:?}; leave --lock out", directory.display(), policy.name());
        return Err(Failure::Usage(message));
    }
    let lock = if *lock { Some(locked_with(&site, &described, *replace)?) } else { None };
    // The owner's policy judges the file where it will lie; a lock that is written last has nothing to judge yet.
    if policy != Policy::Owner && lock.is_none() {
        site.loader.trust.verify(&described, &place).map_err(|error| match error {
            TrustError::NoLock { .. } | TrustError::NotLocked { .. } => {
                Failure::Refused(format!("{error}; if you trust this file, say --lock"))
            }
            error => refused(&StageFailure::Trust(error)),
        })?;
    }
    let known = site.history.known(described.staged.digest, &site.loader.host);
    known.map_err(|not_tried| refused(&not_tried.into()))?;
    site.loader.prove(&described).map_err(|failure| refused(&failure))?;
    let former = fs::read(&target).ok();
    put(&described, file, &target)?;
    if let Some(lock) = &lock {
        write_lock(&site.config.trust.lock_file, lock)?;
    }
    let candidate = Candidate { path: target.clone(), name: descriptor.name.clone(), place };
    let diagnosis = site.loader.diagnose(candidate, Depth::Trust);
    if let Some(failure) = &diagnosis.failure {
        put_back(&target, former.as_deref())?;
        return Err(refused(failure));
    }
    let grant = diagnosis.grant.map(|grant| grant.to_string()).unwrap_or_default();
    let digest = described.staged.digest.to_string();
    print(
        format,
        &json!({ "plugin": descriptor.to_string(), "file": target, "trust": grant, "sha256": digest }),
        || {
            let next = if is_searched(&site, &directory) {
                "Restart the server to use it."
            } else {
                "The server does not look there: name the directory in plugin_dirs."
            };
            format!("{descriptor} is installed: {} ({grant})\n{next}\n", target.display())
        },
    )
}

/// The lock file with the library in it. An entry of another build is replaced only if that is said.
fn locked_with(site: &Site, described: &Described, replace: bool) -> Result<LockFile, Failure> {
    let mut lock = read_lock(&site.config.trust.lock_file)?;
    let former = lock.insert(described).filter(|old| old.sha256 != described.staged.digest.to_string());
    match former {
        Some(former) if !replace => Err(Failure::Refused(format!(
            "{} {} is locked with SHA-256 {}; say --replace if this build is to run in its place",
            former.name, former.version, former.sha256
        ))),
        _ => Ok(lock),
    }
}

/// A file that is refused where it lies is not left there.
fn put_back(target: &Path, former: Option<&[u8]>) -> Result<(), Failure> {
    match former {
        Some(bytes) => write_whole(target, bytes),
        None => fs::remove_file(target).map_err(|error| Failure::file("remove", target, &error)),
    }
}

fn is_searched(site: &Site, directory: &Path) -> bool {
    let same = |place: &SearchPath| {
        place.directory == directory
            || place
                .directory
                .canonicalize()
                .is_ok_and(|one| directory.canonicalize().is_ok_and(|other| one == other))
    };
    site.loader.search.iter().any(same)
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
    let matches = |version: &semver::Version| wanted.is_any() || wanted.admits(version);
    // Before anything is removed that could not be unlocked or forgotten.
    let lock = read_lock(&site.config.trust.lock_file)?;
    site.history.check().map_err(|error| chain(&error))?;
    // The directories that are configured or named; what a package or another user has put elsewhere is theirs.
    let own = |place: &SearchPath| matches!(place.origin, Origin::CommandLine | Origin::Configuration);
    let search: Vec<SearchPath> = site.loader.search.iter().filter(|place| own(place)).cloned().collect();
    let discovered = discover(&search);
    let mut removed = Vec::new();
    for candidate in discovered.candidates.iter().filter(|candidate| candidate.name == wanted.name()) {
        let path = &candidate.path;
        // A file that cannot be described is removed only when all versions are.
        let is_meant = match site.read(path) {
            Ok(described) => matches(&described.descriptor.version),
            Err(_) => wanted.is_any(),
        };
        if is_meant {
            fs::remove_file(path).map_err(|error| Failure::file("remove", path, &error))?;
            let signature = signature_path(path);
            if signature.exists() {
                fs::remove_file(&signature).map_err(|error| Failure::file("remove", &signature, &error))?;
            }
            removed.push(path.display().to_string());
        }
    }
    let unlocked = unlock(&site, lock, |entry| entry.name == wanted.name() && matches(&entry.version))?;
    let forgotten = site.history.forget(wanted.name(), matches).map_err(|error| chain(&error))?;
    if removed.is_empty() && unlocked.is_empty() && forgotten.is_empty() {
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
    print(
        format,
        &json!({
            "removed": removed, "unlocked": unlocked, "forgotten": forgotten, "used_by": used,
        }),
        || {
            let lines = |what: &str, items: &[String]| -> String {
                items.iter().map(|item| format!("{what} {item}\n")).collect()
            };
            let mut text = lines("Removed", &removed)
                + &lines("No longer locked:", &unlocked)
                + &lines("No longer to fall back to:", &forgotten);
            if !used.is_empty() {
                text += &format!("The configuration uses {} for: {}\n", wanted.name(), used.join(", "));
            }
            text
        },
    )
}

/// Takes entries out of the lock file.
fn unlock(
    site: &Site,
    mut lock: LockFile,
    is_meant: impl Fn(&LockedPlugin) -> bool,
) -> Result<Vec<String>, Failure> {
    let removed = lock.remove(is_meant);
    if !removed.is_empty() {
        write_lock(&site.config.trust.lock_file, &lock)?;
    }
    Ok(removed.iter().map(|entry| format!("{} {} for {}", entry.name, entry.version, entry.target)).collect())
}
