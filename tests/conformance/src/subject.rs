//! The subject of a run: a plugin, and how its stores are opened.

use std::path::{Path, PathBuf};

use futures_executor::block_on;
use keyway_loader::{
    BackendConfig, CallContext, Chain, DropKeyspace, Generation, Plugin, configure::configure, probe,
    stage::Staged,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{calls::write_id, faults::FaultsIn, timeline};

/// A plugin with the settings that its stores are opened with.
///
/// Each case opens a store with a separate data directory. If the settings lead elsewhere (an absolute path,
/// a URL), all cases share one store. Only the suite may use it: each case begins by removing every keyspace
/// in it.
#[derive(Clone)]
pub struct Subject {
    /// The plugin.
    pub plugin: Plugin,
    /// The settings of the backend.
    pub config: Value,
    /// The faults that can be injected into the store beneath it, if any.
    pub faults: Option<FaultsIn>,
}

impl Subject {
    /// A plugin with its settings.
    pub fn new(plugin: Plugin, config: Value) -> Self {
        Self { plugin, config, faults: None }
    }

    /// Opens the store in a data directory.
    ///
    /// # Errors
    ///
    /// Why it does not open.
    pub fn open(&self, data_dir: &Path) -> Result<Generation, String> {
        let backend =
            BackendConfig { name: "main".into(), config: self.config.clone(), data_dir: data_dir.to_owned() };
        let opened = block_on(configure(&self.plugin, &backend));
        opened.map(timeline::noted).map_err(|error| Chain(&error).to_string())
    }
}

/// A library as a subject: what a run tells its child processes of it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Library {
    /// The private copy that is loaded.
    staged: PathBuf,
    /// The file that it was copied from, for messages.
    source: PathBuf,
    config: Value,
}

impl Library {
    /// A staged library, with the settings of its backend.
    pub fn new(staged: &Staged, config: Value) -> Self {
        Self { staged: staged.path.clone(), source: staged.source.clone(), config }
    }

    /// For [`Suite::subject`](crate::Suite).
    ///
    /// # Errors
    ///
    /// If a path is not Unicode.
    pub fn to_value(&self) -> Result<Value, String> {
        serde_json::to_value(self).map_err(|error| format!("{}: {error}", self.source.display()))
    }

    /// Loads it into this process without a trust policy, for [`child::main`](crate::suite::child::main).
    ///
    /// # Errors
    ///
    /// Why it cannot be loaded.
    pub fn load(value: &Value) -> Result<Subject, String> {
        let library: Self = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
        let plugin = probe::child::load(library.staged, library.source)
            .map_err(|refused| format!("{}; {}", refused.reason, refused.fix))?;
        Ok(Subject::new(plugin, library.config))
    }
}

/// Removes every keyspace.
pub(crate) fn clear(store: &Generation) -> Result<(), String> {
    let call = CallContext::background();
    loop {
        let names =
            block_on(store.keyspaces(&call, "")).map_err(|error| format!("list keyspaces: {error}"))?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            let drop = DropKeyspace::new(&name, write_id());
            block_on(store.drop_keyspace(&call, drop))
                .map_err(|error| format!("drop a keyspace: {error}"))?;
        }
    }
}
