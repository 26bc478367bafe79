//! The records of libraries and backends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    SearchPath,
    probe::{Passed, Refused},
};

/// Everything that is remembered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Records {
    /// By digest.
    #[serde(default)]
    pub(super) libraries: BTreeMap<String, Library>,
    /// By the backend's name.
    #[serde(default)]
    pub(super) backends: BTreeMap<String, Openings>,
}

/// The record of a library.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Library {
    /// Its name and version, for people.
    pub plugin: String,
    /// The last verdict of a probe.
    pub verdict: Option<Verdict>,
    /// When a store was opened with it and was healthy, in seconds since 1970.
    pub worked: Option<u64>,
    /// The crashes since it was last released, the oldest first.
    #[serde(default)]
    pub crashes: Vec<Crash>,
    /// Since when it is in quarantine, in seconds since 1970.
    pub quarantined: Option<u64>,
}

/// A verdict, and the host that it holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The host's version.
    pub host: String,
    /// The host's interface.
    pub interface: String,
    /// What was found.
    pub found: Result<Passed, Refused>,
}

/// A process that a library has taken down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// In seconds since 1970.
    pub at: u64,
    /// During what, and how.
    pub what: String,
}

/// With which libraries a backend was opened.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Openings {
    /// The last one.
    pub current: Option<Opening>,
    /// The last one of another digest.
    pub previous: Option<Opening>,
    /// The digests that a swap to an older version has passed over: the one that it replaced, and all newer
    /// ones. They are not taken again unless an operator asks for them.
    #[serde(default)]
    pub set_aside: Vec<String>,
}

/// A backend that was opened and was healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: semver::Version,
    /// The library's SHA-256.
    pub sha256: String,
    /// The data format that the store had.
    pub data_format: u32,
    /// The directory that the library was found in, whose policy it must still pass.
    pub place: SearchPath,
}
