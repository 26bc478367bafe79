//! With which libraries each backend was opened, and which it is not to be opened with again.

use serde::{Deserialize, Serialize};

use super::History;
use crate::{Digest, SearchPath};

/// The libraries that are remembered as set aside for a backend.
const MAX_SET_ASIDE: usize = 64;

/// With which libraries a backend was opened.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Openings {
    /// The last one.
    pub current: Option<Opening>,
    /// The last one of another digest.
    pub previous: Option<Opening>,
    /// The digests that were swapped for something older, and are not taken again unless somebody says so.
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

impl History {
    /// Remembers which libraries are not to be taken again, because a backend was swapped back to `to`, which is.
    pub(crate) fn set_aside(&self, backend: &str, to: Option<Digest>, aside: &[Digest]) {
        let to = to.map(|digest| digest.to_string());
        let aside: Vec<String> = aside.iter().map(Digest::to_string).collect();
        let known = self.openings(backend).set_aside;
        // Mostly nothing was, and nothing is.
        if aside.is_empty() && to.as_ref().is_none_or(|to| !known.contains(to)) {
            return;
        }
        self.remember(self.edit(|records| {
            let openings = records.backends.entry(backend.to_owned()).or_default();
            openings.set_aside.retain(|digest| Some(digest) != to.as_ref() && !aside.contains(digest));
            openings.set_aside.extend(aside.into_iter().filter(|digest| Some(digest) != to.as_ref()));
            let surplus = openings.set_aside.len().saturating_sub(MAX_SET_ASIDE);
            openings.set_aside.drain(..surplus);
        }));
    }
}
