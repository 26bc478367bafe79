//! The options of the command line that the configuration does not have.

use std::path::PathBuf;

use uuid::Uuid;

/// The options of the command line that the configuration does not have.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// Directories to look for plugins in, before all others.
    pub plugin_dirs: Vec<PathBuf>,
    /// Start over after the store of that cluster was lost.
    pub forget: Option<Uuid>,
    /// Whether plugins may be left unchecked.
    pub dev: bool,
}
