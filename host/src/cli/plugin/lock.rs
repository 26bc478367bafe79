//! `keyway plugin lock`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use keyway_loader::{
    Fix, LockFile, Policy,
    describe::Described,
    discover::{Candidate, discover},
};
use keyway_terminal::files::{chain, write_whole};
use keyway_terminal::output::{Format, print};
use serde_json::json;

use super::site::Site;
use crate::cli::failure::Failure;

/// The lock file, or an empty one.
pub(super) fn read_lock(path: &Path) -> Result<LockFile, Failure> {
    if path.exists() { LockFile::read(path).map_err(|error| chain(&error)) } else { Ok(LockFile::default()) }
}

/// Writes the lock file.
pub(super) fn write_lock(path: &Path, lock: &LockFile) -> Result<(), Failure> {
    write_whole(path, lock.to_text().as_bytes())
}

pub(super) fn lock(site: &Site, files: &[PathBuf], format: Format) -> Result<(), Failure> {
    let path = &site.config.trust.lock_file;
    let mut lock = read_lock(path)?;
    let mut report = Report::default();
    if files.is_empty() {
        lock_found(site, &mut lock, &mut report)?;
    } else {
        for file in files {
            // Files for other platforms too: one lock file serves all machines.
            let described = site.read(file)?;
            report.insert(&mut lock, &described);
        }
    }
    write_lock(path, &lock)?;
    let Report { locked, passed_over } = report;
    print(format, &json!({ "lock": path, "locked": locked, "passed_over": passed_over }), || {
        let locked: String = locked.iter().map(|line| format!("  {line}\n")).collect();
        let passed_over: String = passed_over.iter().map(|line| format!("  passed over {line}\n")).collect();
        format!("{} lets these run:\n{locked}{passed_over}", path.display())
    })
}

#[derive(Default)]
struct Report {
    locked: Vec<String>,
    passed_over: Vec<String>,
}

impl Report {
    fn insert(&mut self, lock: &mut LockFile, described: &Described) {
        let digest = described.staged.digest.to_string();
        let replaced = lock.insert(described).filter(|old| old.sha256 != digest);
        let replaced = replaced.map(|old| format!(" (until now {})", old.sha256)).unwrap_or_default();
        self.locked.push(format!("{} {digest}{replaced}", described.descriptor));
    }
}

/// Everything that the loader would find.
fn lock_found(site: &Site, lock: &mut LockFile, report: &mut Report) -> Result<(), Failure> {
    let discovered = discover(&site.loader.search);
    let mut seen = BTreeSet::new();
    for candidate in &discovered.candidates {
        if is_judged_otherwise(site, candidate) {
            report
                .passed_over
                .push(format!("{}: its directory has another policy", candidate.path.display()));
            continue;
        }
        match site.loader.describe(candidate) {
            Ok(described) => {
                // Of two files with one name and version the first is the one that would be loaded.
                if seen.insert((candidate.name.clone(), described.descriptor.version.clone())) {
                    report.insert(lock, &described);
                }
            }
            Err(reason) => {
                report.passed_over.push(format!("{}: {reason}; {}", candidate.path.display(), reason.fix()));
            }
        }
    }
    if !report.locked.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = discovered.places.iter().map(ToString::to_string).collect();
    lines.extend(report.passed_over.iter().map(|line| format!("passed over {line}")));
    Err(Failure::NotFound(format!("no usable plugin file was found in\n  {}", lines.join("\n  "))))
}

fn is_judged_otherwise(site: &Site, candidate: &Candidate) -> bool {
    site.loader.trust.policy_of(&candidate.place).is_ok_and(|policy| policy != Policy::Lock)
}
