//! Runs the stages for one plugin, and tells what happened to every candidate on the way.

use std::{error::Error as StdError, fmt, path::PathBuf};

use crate::{
    Plugin,
    check::{CheckError, check},
    describe::{DescribeError, Described, describe},
    discover::{Candidate, Discovered, Place, SearchPath, discover, file_name},
    open::{OpenError, open},
    report::Chain,
    stage::{StageError, stage},
    trust::{TrustError, TrustPolicy},
};

/// Where plugins are looked for, and which of them may run.
#[derive(Debug, Clone)]
pub struct Loader {
    /// The directories, in the order in which they count.
    pub search: Vec<SearchPath>,
    /// Where the private copies go.
    pub staging_dir: PathBuf,
    /// Which libraries may run.
    pub trust: TrustPolicy,
}

/// What a backend asks for: `name` or `name@requirement`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    name: String,
    version: semver::VersionReq,
}

impl Requirement {
    /// Parses `sqlite` or `sqlite@^1.2`.
    ///
    /// # Errors
    ///
    /// A line that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => {
                let version = semver::VersionReq::parse(version)
                    .map_err(|error| format!("{version:?} is not a version requirement: {error}"))?;
                (name, version)
            }
            None => (text, semver::VersionReq::STAR),
        };
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(valid) {
            return Err(format!("{name:?} is not a plugin's name: lower-case letters, digits and dashes"));
        }
        Ok(Self { name: name.to_owned(), version })
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.version == semver::VersionReq::STAR { Ok(()) } else { write!(f, "@{}", self.version) }
    }
}

/// The error of whichever stage a candidate did not pass.
#[derive(Debug)]
pub enum StageFailure {
    /// It could not be staged.
    Stage(StageError),
    /// It could not be described.
    Describe(DescribeError),
    /// It does not fit.
    Check(CheckError),
    /// It is not of the version that was asked for.
    Version(semver::Version),
    /// It may not run.
    Trust(TrustError),
    /// It could not be loaded.
    Open(OpenError),
}

impl fmt::Display for StageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error: &dyn StdError = match self {
            Self::Stage(error) => error,
            Self::Describe(error) => error,
            Self::Check(error) => error,
            Self::Version(version) if version.pre.is_empty() => return write!(f, "its version is {version}"),
            Self::Version(version) => {
                return write!(
                    f,
                    "its version is {version}; a pre-release must be asked for, as NAME@={version}"
                );
            }
            Self::Trust(error) => error,
            Self::Open(error) => error,
        };
        Chain(error).fmt(f)
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
    pub places: Vec<Place>,
    /// Every file of that name.
    pub passed_over: Vec<PassedOver>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.passed_over.is_empty() {
            write!(f, "plugin {} was not found", self.requirement)?;
        } else {
            write!(f, "plugin {} cannot be used", self.requirement)?;
        }
        for PassedOver { path, reason } in &self.passed_over {
            write!(f, "\n  passed over {}: {reason}", path.display())?;
        }
        let wanted = file_name(&self.requirement.name);
        write!(f, "\n  looked for {wanted} (or with a version behind the name) in")?;
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

/// Every library file that was found, and every directory that was searched.
#[derive(Debug)]
pub struct Survey {
    /// The files in the order in which they count.
    pub libraries: Vec<Surveyed>,
    /// The directories in the order in which they were searched.
    pub places: Vec<Place>,
}

/// A library file, and what it says about itself or why it cannot be used.
#[derive(Debug)]
pub struct Surveyed {
    /// The file.
    pub candidate: Candidate,
    /// Its staged copy and descriptor.
    pub described: Result<Described, StageFailure>,
}

impl Loader {
    /// Every library file, staged and described, or why that failed. Runs no code of theirs.
    pub fn survey(&self) -> Survey {
        let Discovered { candidates, places } = discover(&self.search);
        let described = candidates
            .into_iter()
            .map(|candidate| {
                let described = self.describe(&candidate);
                Surveyed { candidate, described }
            })
            .collect();
        Survey { libraries: described, places }
    }

    /// Loads the newest usable version of what is asked for.
    ///
    /// # Errors
    ///
    /// Where there is none: each place that was tried and why each file was passed over.
    pub fn load(&self, requirement: &Requirement) -> Result<Plugin, Box<LoadError>> {
        let Discovered { candidates, places } = discover(&self.search);
        let mut passed_over = Vec::new();
        let mut usable = Vec::new();
        for candidate in candidates.into_iter().filter(|candidate| candidate.name == requirement.name) {
            match self.admit(&candidate, requirement) {
                Ok(described) => usable.push(described),
                Err(reason) => passed_over.push(PassedOver { path: candidate.path, reason }),
            }
        }
        // Stable: of equal versions the one found first comes first.
        usable.sort_by(|a, b| b.descriptor.version.cmp(&a.descriptor.version));
        for described in usable {
            match open(&described) {
                Ok(plugin) => {
                    report(&plugin, &passed_over);
                    return Ok(plugin);
                }
                Err(error) => {
                    if let OpenError::Layout { detail, .. } = &error {
                        tracing::debug!(library = %described.staged.source.display(), detail, "layouts differ");
                    }
                    let (path, reason) = (described.staged.source, StageFailure::Open(error));
                    passed_over.push(PassedOver { path, reason });
                }
            }
        }
        Err(Box::new(LoadError { requirement: requirement.clone(), places, passed_over }))
    }

    /// The stages before the library is mapped.
    fn admit(&self, candidate: &Candidate, requirement: &Requirement) -> Result<Described, StageFailure> {
        let described = self.describe(candidate)?;
        let version = &described.descriptor.version;
        if !requirement.version.matches(version) {
            return Err(StageFailure::Version(version.clone()));
        }
        self.trust.verify(&described).map_err(StageFailure::Trust)?;
        Ok(described)
    }

    fn describe(&self, candidate: &Candidate) -> Result<Described, StageFailure> {
        let staged = stage(&candidate.path, &self.staging_dir).map_err(StageFailure::Stage)?;
        let described = describe(staged).map_err(StageFailure::Describe)?;
        check(&described, &candidate.name).map_err(StageFailure::Check)?;
        Ok(described)
    }
}

fn report(plugin: &Plugin, passed_over: &[PassedOver]) {
    tracing::info!(plugin = %plugin.descriptor(), origin = ?plugin.origin(), "plugin loaded");
    for PassedOver { path, reason } in passed_over {
        tracing::warn!(library = %path.display(), %reason, "plugin passed over");
    }
}
