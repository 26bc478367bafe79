//! What a library says about itself.

use keyway_abi::Capabilities;

/// The fixed facts of a plugin. They are embedded in the library, where a loader reads them without running it.
#[derive(Debug, Clone, Copy)]
pub struct PluginInfo {
    /// The name that a configuration asks for: lower-case letters, digits and dashes.
    pub name: &'static str,
    /// The plugin's own semantic version; usually `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// An SPDX expression; usually `env!("CARGO_PKG_LICENSE")`.
    pub licence: &'static str,
    /// Where to find out more, or nothing.
    pub homepage: &'static str,
    /// The JSON Schema of the configuration: what [`crate::config_schema`] returns for it, kept in a file.
    pub config_schema: &'static str,
    /// The version of the data format that this plugin writes.
    pub data_format: u32,
    /// The most that a store opened by this plugin promises: its
    /// [`Backend::capabilities`](crate::Backend::capabilities) are these or fewer.
    pub capabilities: Capabilities,
    /// The names of the backend's own operations.
    pub extensions: &'static [&'static str],
}
