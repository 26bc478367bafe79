//! A backend as it is configured.

use std::path::PathBuf;

use serde_json::Value;

/// A backend as it is configured.
#[derive(Debug, Clone)]
pub struct BackendConfig {
    /// Its name in the configuration.
    pub name: String,
    /// Its own settings: a JSON object.
    pub config: Value,
    /// The directory that relative paths in the settings are relative to.
    pub data_dir: PathBuf,
}
