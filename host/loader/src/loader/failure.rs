//! The error of whichever stage a candidate did not pass.

use std::{error::Error, fmt, path::Path};

use crate::{
    Digest,
    check::CheckError,
    describe::DescribeError,
    history::{NotTried, Quarantined},
    open::OpenError,
    probe::ProbeError,
    report::{Chain, Fix},
    stage::StageError,
    trust::TrustError,
};

/// A stage of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageName {
    /// Copied privately.
    Stage,
    /// Its descriptor read.
    Describe,
    /// Fits this host.
    Check,
    /// May run here.
    Trust,
    /// Loaded in a child process.
    Probe,
    /// Has opened a store in a child process.
    Rehearse,
    /// Loaded.
    Open,
}

impl StageName {
    /// The name, in small letters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Describe => "describe",
            Self::Check => "check",
            Self::Trust => "trust",
            Self::Probe => "probe",
            Self::Rehearse => "rehearse",
            Self::Open => "open",
        }
    }
}

/// Why a candidate was passed over.
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
    /// It cannot read the store.
    Format {
        /// The newest data format that the plugin knows.
        plugin: u32,
        /// The store's.
        store: u32,
    },
    /// The copy that was kept of it is not what it was.
    Altered(Digest),
    /// It may not run.
    Trust(TrustError),
    /// It is in quarantine.
    Quarantined(Quarantined),
    /// It did not survive a child process.
    Probe(ProbeError),
    /// A swap to an older version has passed it over, and no operator has chosen it since.
    SetAside,
    /// It did not come through opening a store in a child process.
    Rehearse(ProbeError),
    /// It could not be loaded.
    Open(OpenError),
    /// It could not open the store.
    Unopened {
        /// What the failed attempt said.
        reason: String,
    },
}

impl StageFailure {
    /// The stage that it did not pass.
    pub fn stage(&self) -> StageName {
        match self {
            Self::Stage(_) | Self::Altered(_) => StageName::Stage,
            Self::Describe(_) => StageName::Describe,
            Self::Check(_) | Self::Version(_) | Self::Format { .. } | Self::SetAside => StageName::Check,
            Self::Trust(_) => StageName::Trust,
            Self::Quarantined(_) | Self::Probe(_) => StageName::Probe,
            Self::Rehearse(_) => StageName::Rehearse,
            Self::Open(_) | Self::Unopened { .. } => StageName::Open,
        }
    }

    /// In a few words, without paths.
    pub fn summary(&self) -> &'static str {
        match self {
            Self::Stage(StageError::WorldWritable { .. } | StageError::ForeignOwner { .. }) => {
                "others may change its file"
            }
            Self::Stage(_) => "its file cannot be copied",
            Self::Describe(DescribeError::NotALibrary { .. }) => "its file is no library",
            Self::Describe(DescribeError::NotAPlugin { .. }) => "its file is no plugin",
            Self::Describe(_) => "its file is damaged",
            Self::Check(CheckError::Platform { .. }) => "it is built for another platform",
            Self::Check(CheckError::Interface { .. }) => "it speaks another interface",
            Self::Check(CheckError::Needs { .. } | CheckError::SearchPath { .. }) => {
                "it needs foreign libraries"
            }
            Self::Check(_) => "it does not fit",
            Self::Version(_) => "it is of another version",
            Self::Altered(_) => "the copy that was kept of it has changed",
            Self::Format { .. } => "it does not know the store's data format",
            Self::Trust(_) => "it is not trusted",
            Self::Quarantined(_) => "it is in quarantine",
            Self::Probe(ProbeError::Crashed { .. } | ProbeError::Exited { .. }) => {
                "it ends the process that loads it"
            }
            Self::Probe(ProbeError::Forbidden { .. }) => "it does what loading does not",
            Self::Probe(ProbeError::TimedOut { .. }) => "loading it does not come to an end",
            Self::Probe(ProbeError::Memory { .. }) => "loading it takes too much memory",
            Self::Probe(ProbeError::Start { .. } | ProbeError::Unable { .. } | ProbeError::Killed { .. }) => {
                "it could not be probed"
            }
            Self::SetAside => "it was rolled back",
            Self::Unopened { .. } => "it cannot open the store",
            Self::Rehearse(ProbeError::Crashed { .. } | ProbeError::Exited { .. }) => {
                "it ends the process in which it opens a store"
            }
            Self::Rehearse(ProbeError::TimedOut { .. }) => "opening a store with it does not come to an end",
            Self::Rehearse(ProbeError::Wrong { .. }) => "a store that it has opened answers wrongly",
            Self::Rehearse(_) => "opening a store with it could not be tried",
            Self::Open(OpenError::Images { .. }) => "too many images are mapped",
            Self::Probe(ProbeError::Refused(_) | ProbeError::Wrong { .. }) | Self::Open(_) => {
                "it cannot be loaded"
            }
        }
    }

    /// The reason, for a text that shows the file's path already.
    pub fn without_path(&self, path: &Path) -> String {
        let reason = self.to_string();
        match reason.strip_prefix(&format!("{} ", path.display())) {
            Some(rest) => format!("it {rest}"),
            None => reason,
        }
    }

    /// Whether another try may succeed without an operator's help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Probe(error) | Self::Rehearse(error) => error.is_inconclusive(),
            // It may be the store.
            Self::Unopened { .. } => true,
            _ => false,
        }
    }

    /// Whether it lies in the library, and not in what was asked for.
    pub fn is_defect(&self) -> bool {
        !matches!(self, Self::Version(_) | Self::Format { .. } | Self::SetAside)
    }

    /// Everything that is known, if the message is short for good reason.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Open(error) => error.detail(),
            Self::Probe(ProbeError::Refused(refused)) => refused.detail.as_deref(),
            _ => None,
        }
    }

    fn inner(&self) -> Option<&dyn Fix> {
        match self {
            Self::Stage(error) => Some(error),
            Self::Describe(error) => Some(error),
            Self::Check(error) => Some(error),
            Self::Version(_)
            | Self::Format { .. }
            | Self::Altered(_)
            | Self::SetAside
            | Self::Unopened { .. } => None,
            Self::Trust(error) => Some(error),
            Self::Quarantined(error) => Some(error),
            Self::Probe(error) | Self::Rehearse(error) => Some(error),
            Self::Open(error) => Some(error),
        }
    }
}

impl fmt::Display for StageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "its version is {version}"),
            Self::Altered(digest) => {
                write!(f, "the copy that was kept of it has changed: its SHA-256 is {digest} now")
            }
            Self::Format { plugin, store } => {
                write!(f, "it knows data formats up to {plugin}, and the store is in format {store}")
            }
            Self::SetAside => f.write_str("it was rolled back"),
            Self::Unopened { reason } => f.write_str(reason),
            Self::Rehearse(ProbeError::Crashed { signal, .. }) => {
                write!(f, "it crashes the process in which it opens an empty store: {signal}")
            }
            Self::Rehearse(ProbeError::TimedOut { deadline, .. }) => {
                write!(f, "it has not opened an empty store within {} s", deadline.as_secs())
            }
            Self::Rehearse(error) => write!(f, "opening an empty store with it was tried: {}", Chain(error)),
            other => match other.inner() {
                Some(error) => Chain(error).fmt(f),
                None => Ok(()),
            },
        }
    }
}

impl Error for StageFailure {}

impl Fix for StageFailure {
    fn fix(&self) -> String {
        match self {
            Self::Version(version) if version.pre.is_empty() => {
                "ask for that version, or install one that satisfies".to_owned()
            }
            Self::Version(version) => format!("a pre-release must be asked for, as NAME@={version}"),
            Self::Altered(_) => "install it again".to_owned(),
            Self::Unopened { .. } => "do not use this version with this store; tell its author".to_owned(),
            Self::SetAside => {
                "install another version, or say `keyway backend swap` to use it after all".to_owned()
            }
            Self::Format { store, .. } => format!("install a version that knows data format {store}"),
            other => other.inner().map(Fix::fix).unwrap_or_default(),
        }
    }
}

impl From<NotTried> for StageFailure {
    fn from(not_tried: NotTried) -> Self {
        match not_tried {
            NotTried::Quarantined(error) => Self::Quarantined(error),
            NotTried::Refused(refused) => Self::Probe(ProbeError::Refused(refused)),
        }
    }
}
