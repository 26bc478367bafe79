//! Runs the stages for one plugin, and tells what happened to every candidate on the way.

mod diagnosis;
mod failure;

use std::{error::Error as StdError, fmt, path::PathBuf};

pub use self::{
    diagnosis::{Depth, Diagnosis},
    failure::{StageFailure, StageName},
};
use crate::{
    Plugin,
    check::check,
    describe::{Described, describe},
    discover::{Candidate, Discovered, SearchPath, SearchedDirectory, discover, file_name, is_plugin_name},
    history::History,
    open::open,
    probe::{Passed, Prober},
    report::Fix,
    stage::stage,
    trust::{Grant, Trust},
};

/// Where plugins are looked for, and which of them may run.
#[derive(Debug, Clone)]
pub struct Loader {
    /// The directories, in the order in which they count.
    pub search: Vec<SearchPath>,
    /// Where the private copies go.
    pub staging_dir: PathBuf,
    /// Which libraries may run.
    pub trust: Trust,
    /// The libraries that plugins may need, besides the system's.
    pub libraries: Vec<String>,
    /// Loads each library in a child process first; none leaves that out.
    pub prober: Option<Prober>,
    /// The history of libraries.
    pub history: History,
    /// The version of the host, with which verdicts of probes hold.
    pub host: String,
    /// Most images that the process may map, including images that other loaders of the process have mapped.
    pub most_images: usize,
}

/// What a backend asks for: `name` or `name@requirement`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    name: String,
    /// None is any at all.
    version: Option<semver::VersionReq>,
}

impl Requirement {
    /// Parses `sqlite` or `sqlite@^1.2`.
    ///
    /// # Errors
    ///
    /// A line that says what the problem is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => {
                let version = semver::VersionReq::parse(version)
                    .map_err(|error| format!("{version:?} is not a version requirement: {error}"))?;
                (name, version)
            }
            None => (text, semver::VersionReq::STAR),
        };
        if !is_plugin_name(name) {
            return Err(format!("{name:?} is not a plugin's name: lower-case letters, digits and dashes"));
        }
        Ok(Self { name: name.to_owned(), version: Some(version) })
    }

    /// Any version of a plugin, pre-releases included.
    pub(crate) fn any(name: &str) -> Self {
        Self { name: name.to_owned(), version: None }
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it names no version.
    pub fn is_any(&self) -> bool {
        self.version.as_ref().is_none_or(|version| *version == semver::VersionReq::STAR)
    }

    /// Whether a version satisfies it.
    pub fn admits(&self, version: &semver::Version) -> bool {
        self.version.as_ref().is_none_or(|wanted| wanted.matches(version))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.version {
            Some(version) if *version != semver::VersionReq::STAR => write!(f, "@{version}"),
            _ => Ok(()),
        }
    }
}

/// A file that was considered and passed over.
#[derive(Debug)]
pub struct PassedOver {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: StageFailure,
}

/// A plugin that could not be loaded: what was looked for, where, and why each file was passed over.
#[derive(Debug)]
pub struct LoadError {
    /// What was asked for.
    pub requirement: Requirement,
    /// Every directory that was tried.
    pub places: Vec<SearchedDirectory>,
    /// Every file of that name.
    pub passed_over: Vec<PassedOver>,
}

impl LoadError {
    /// In a few words, without paths.
    pub fn summary(&self) -> String {
        let mut reasons: Vec<&str> = self.passed_over.iter().map(|passed| passed.reason.summary()).collect();
        reasons.dedup();
        let plugin = &self.requirement;
        if reasons.is_empty() {
            format!("plugin {plugin} was not found")
        } else {
            format!("plugin {plugin} cannot be used: {}", reasons.join("; "))
        }
    }

    pub(crate) fn is_transient(&self) -> bool {
        self.passed_over.iter().any(|passed| passed.reason.is_transient())
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed_over.is_empty() {
            write!(f, "plugin {} was not found", self.requirement)?;
        } else {
            write!(f, "plugin {} cannot be used", self.requirement)?;
        }
        for PassedOver { path, reason } in &self.passed_over {
            write!(f, "\n  passed over {} ({}):", path.display(), reason.stage().name())?;
            write!(f, "\n    {}\n    fix: {}", reason.without_path(path), reason.fix())?;
        }
        let wanted = file_name(&self.requirement.name);
        write!(f, "\n  looked for {wanted} (or with a version after the name) in")?;
        for place in &self.places {
            write!(f, "\n    {place}")?;
        }
        if self.places.is_empty() {
            write!(f, "\n    no directory at all")?;
        }
        if self.passed_over.is_empty() {
            write!(
                f,
                "\n  put the file into one of these, or name its directory in plugin_dirs or --plugin-dir"
            )?;
        }
        Ok(())
    }
}

impl StdError for LoadError {}

/// A library that has come through all stages before it is mapped.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// What it says about itself.
    pub described: Described,
    /// The directory that it was found in.
    pub place: SearchPath,
    /// Why it may run.
    pub grant: Grant,
}

/// How a library came through its probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proven {
    /// Now.
    Now(Passed),
    /// At an earlier start of this host's version.
    Before(Passed),
    /// It has worked on this machine, and a probe was inconclusive now.
    Worked(String),
    /// This host does not probe.
    Skipped,
}

impl Loader {
    /// Loads the newest usable version of the plugin.
    ///
    /// # Errors
    ///
    /// If there is none: each place that was tried and why each file was passed over.
    pub fn load(&self, requirement: &Requirement) -> Result<Plugin, Box<LoadError>> {
        self.first_usable(requirement, None, |admitted| self.map(admitted))
    }

    /// The result of `take` for the newest version that it does not refuse, among those that know the data
    /// format.
    pub(crate) fn first_usable<T>(
        &self,
        requirement: &Requirement,
        format: Option<u32>,
        take: impl Fn(&Admitted) -> Result<T, StageFailure>,
    ) -> Result<T, Box<LoadError>> {
        self.first_usable_with(requirement, format, take).map(|(taken, _)| taken)
    }

    /// The same, with what was passed over on the way.
    pub(crate) fn first_usable_with<T>(
        &self,
        requirement: &Requirement,
        format: Option<u32>,
        take: impl Fn(&Admitted) -> Result<T, StageFailure>,
    ) -> Result<(T, Box<LoadError>), Box<LoadError>> {
        let Discovered { candidates, places } = discover(&self.search);
        let mut passed_over = Vec::new();
        let mut usable = Vec::new();
        for candidate in candidates.into_iter().filter(|candidate| candidate.name == requirement.name) {
            match self.admit(&candidate, requirement, format) {
                Ok(admitted) => usable.push(admitted),
                Err(reason) => passed_over.push(PassedOver { path: candidate.path, reason }),
            }
        }
        // Stable: of equal versions the one found first comes first.
        usable.sort_by(|a, b| b.described.descriptor.version.cmp(&a.described.descriptor.version));
        for admitted in usable {
            match take(&admitted) {
                Ok(taken) => {
                    report(&admitted.described, &passed_over);
                    let passed = LoadError { requirement: requirement.clone(), places, passed_over };
                    return Ok((taken, Box::new(passed)));
                }
                Err(reason) => {
                    passed_over.push(PassedOver { path: admitted.described.staged.source, reason })
                }
            }
        }
        Err(Box::new(LoadError { requirement: requirement.clone(), places, passed_over }))
    }

    /// The stages before the library is run.
    pub(crate) fn admit(
        &self,
        candidate: &Candidate,
        requirement: &Requirement,
        format: Option<u32>,
    ) -> Result<Admitted, StageFailure> {
        let described = self.describe(candidate)?;
        let version = &described.descriptor.version;
        if !requirement.admits(version) {
            return Err(StageFailure::Version(version.clone()));
        }
        match format {
            Some(store) if described.descriptor.data_format < store => {
                return Err(StageFailure::Format { plugin: described.descriptor.data_format, store });
            }
            _ => {}
        }
        let grant = self.trust.verify(&described, &candidate.place).map_err(StageFailure::Trust)?;
        // By the path without links, so that a later check of its policy finds the same directory.
        let directory = described.staged.provenance.directory.clone();
        let place = SearchPath {
            directory: directory.unwrap_or_else(|| candidate.place.directory.clone()),
            origin: candidate.place.origin,
        };
        Ok(Admitted { described, place, grant })
    }

    /// Stages, describes and checks a candidate. Runs no code of it.
    ///
    /// # Errors
    ///
    /// The first stage's that it does not pass.
    pub fn describe(&self, candidate: &Candidate) -> Result<Described, StageFailure> {
        let described = self.read(candidate)?;
        self.fits(&described, candidate)?;
        Ok(described)
    }

    fn read(&self, candidate: &Candidate) -> Result<Described, StageFailure> {
        let staged = stage(&candidate.path, &self.staging_dir).map_err(StageFailure::Stage)?;
        let copy = staged.path.clone();
        describe(staged).map_err(|error| {
            // A copy of a file that is no plugin is of no use; one that stays does no harm.
            let _stays = std::fs::remove_file(copy);
            StageFailure::Describe(error)
        })
    }

    fn fits(&self, described: &Described, candidate: &Candidate) -> Result<(), StageFailure> {
        check(described, &candidate.name, &self.libraries).map_err(StageFailure::Check)
    }

    /// Probes a library that may run, unless an earlier verdict holds.
    ///
    /// # Errors
    ///
    /// `Quarantined` or `Probe`.
    pub fn prove(&self, described: &Described) -> Result<Proven, StageFailure> {
        let digest = described.staged.digest;
        let known = self.history.known(digest, &self.host)?;
        let Some(prober) = &self.prober else { return Ok(Proven::Skipped) };
        if let Some(passed) = known {
            return Ok(Proven::Before(passed));
        }
        let plugin = described.descriptor.label();
        let found = prober.probe(described);
        self.history.probed(digest, &plugin, &self.host, &found);
        match found {
            Ok(passed) => {
                for skipped in &passed.skipped {
                    tracing::warn!(plugin, skipped, "this system does not keep a probe from everything");
                }
                Ok(Proven::Now(passed))
            }
            Err(error) if error.is_inconclusive() && self.has_worked(described) => {
                tracing::warn!(plugin, %error, "used all the same: it has worked on this machine before");
                Ok(Proven::Worked(error.to_string()))
            }
            Err(error) => Err(StageFailure::Probe(error)),
        }
    }

    pub(crate) fn has_worked(&self, described: &Described) -> bool {
        self.history.library(described.staged.digest).is_some_and(|library| library.worked.is_some())
    }

    /// Probes and maps a library that may run.
    pub(crate) fn map(&self, admitted: &Admitted) -> Result<Plugin, StageFailure> {
        let described = &admitted.described;
        let proven = self.prove(described)?;
        if proven == Proven::Skipped {
            tracing::debug!(library = %described.staged.source.display(), "probe SKIPPED: no program to probe with");
        }
        let _marker =
            self.history.begin(described.staged.digest, &described.descriptor.label(), "loaded by the host");
        open(described, admitted.grant.clone(), admitted.place.clone(), self.most_images)
            .map_err(StageFailure::Open)
    }
}

fn report(described: &Described, passed_over: &[PassedOver]) {
    let digest = described.staged.digest;
    tracing::info!(plugin = %described.descriptor, library = %described.staged.source.display(), %digest, "plugin chosen");
    for PassedOver { path, reason } in passed_over {
        let detail = reason.detail();
        tracing::warn!(library = %path.display(), %reason, fix = reason.fix(), "plugin passed over");
        tracing::debug!(library = %path.display(), detail, "all that is known about it");
    }
}
