//! Opens a store with a library in a child process, on an empty directory. If `open` fails or hangs, it does
//! so there, where no store is held and no request waits.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ProbeError, Prober, Refused, watch::watch};
use crate::{BackendConfig, Chain, Plugin, configure::configure, describe::Described, readback::Scratch};

/// How the directories begin that rehearsals take place in.
pub(crate) const PREFIX: &str = ".rehearsal-";
/// Where the child finds what it opens.
const SETTING: &str = "setting.json";

/// How a rehearsal went that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rehearsed {
    /// A store was opened, was healthy, and answered rightly.
    Passed,
    /// The rehearsal was not possible, for this reason.
    Skipped(String),
}

/// What the child opens.
#[derive(Serialize, Deserialize)]
struct Setting {
    name: String,
    config: Value,
}

/// Why a child did not come through.
pub(super) enum Failed {
    /// It could not be loaded, or an empty directory is not what it needs.
    Refused(Refused),
    /// It is open, and answers wrongly.
    Wrong(String),
}

impl Prober {
    /// Opens a store with a library in a child process, in an empty directory below `directory`, writes,
    /// reads back and closes it.
    ///
    /// # Errors
    ///
    /// If it crashes, does not come to an end, or answers wrongly. That it cannot be opened there is no
    /// error: the real store may have what an empty directory lacks.
    pub fn rehearse(
        &self,
        described: &Described,
        backend: &BackendConfig,
        directory: &Path,
    ) -> Result<Rehearsed, ProbeError> {
        if let Some(place) = elsewhere(&backend.config) {
            return Ok(Rehearsed::Skipped(format!(
                "its settings name {place}, which is not in the data directory"
            )));
        }
        let start = |source| ProbeError::Start { program: self.program.clone(), source };
        let scratch = tempfile::Builder::new().prefix(PREFIX).tempdir_in(directory).map_err(start)?;
        let setting = Setting { name: backend.name.clone(), config: backend.config.clone() };
        let text = serde_json::to_vec(&setting).expect("settings are JSON");
        // Not on the command line, which every user can read: the directory is this user's alone.
        fs::write(scratch.path().join(SETTING), text).map_err(start)?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(&described.staged.path).arg(&described.staged.source);
        command.arg(scratch.path()).env_clear().current_dir("/");
        let ended = watch(command, self.deadline, self.memory).map_err(start)?;
        match self.judge(ended) {
            Ok(_) => Ok(Rehearsed::Passed),
            Err(ProbeError::Refused(refused)) => Ok(Rehearsed::Skipped(refused.reason)),
            // Files may be larger than in a probe, and yet too large for this.
            Err(error) if error.is_for_want_of_room() => Ok(Rehearsed::Skipped(error.to_string())),
            Err(
                error
                @ (ProbeError::Forbidden { .. } | ProbeError::Memory { .. } | ProbeError::Killed { .. }),
            ) => {
                // A store may need the network, or more memory than a library that is only loaded.
                Ok(Rehearsed::Skipped(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}

/// A path in the settings that is not within the data directory, as far as this can be seen.
fn elsewhere(config: &Value) -> Option<String> {
    match config {
        Value::String(text) => {
            let path = Path::new(text);
            let leaves = path.components().any(|part| part.as_os_str() == OsStr::new(".."));
            // A URL, a home directory, a place among other words.
            let is_more = text.contains([':', '~', '\\', '=']);
            (path.is_absolute() || leaves || is_more).then(|| "a place".to_owned())
        }
        Value::Array(values) => values.iter().find_map(elsewhere),
        Value::Object(fields) => {
            fields.iter().find_map(|(name, value)| elsewhere(value).map(|_| format!("{name:?}")))
        }
        _ => None,
    }
}

/// The child's side.
pub(super) fn perform(plugin: &Plugin, scratch: PathBuf) -> Result<(), Failed> {
    let unable = |reason: String| {
        let fix = "see that the staging directory can be written to".to_owned();
        Failed::Refused(Refused { reason, fix, detail: None, lasting: false })
    };
    let text = fs::read(scratch.join(SETTING)).map_err(|error| unable(error.to_string()))?;
    let setting: Setting = serde_json::from_slice(&text).map_err(|error| unable(error.to_string()))?;
    fs::remove_file(scratch.join(SETTING)).map_err(|error| unable(error.to_string()))?;
    let backend = BackendConfig { name: setting.name, config: setting.config, data_dir: scratch };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| unable(error.to_string()))?;
    runtime.block_on(async {
        let generation = configure(plugin, &backend).await;
        let generation = generation.map_err(|error| unable(Chain(&error).to_string()))?;
        let scratch = Scratch::new().map_err(|error| unable(Chain(&error).to_string()))?;
        let checked = scratch.check(&generation).await;
        checked.map_err(|error| Failed::Wrong(Chain(&error).to_string()))?;
        let closed = generation.shutdown(&crate::CallContext::background()).await;
        closed.map_err(|error| Failed::Wrong(format!("it does not close: {error}")))
    })
}
