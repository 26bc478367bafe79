//! What was tested.

use std::collections::BTreeMap;

use keyway_loader::{Capabilities, INTERFACE_VERSION, Plugin};
use serde::{Deserialize, Serialize};

/// What was tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// The library's SHA-256; none if it was linked.
    pub digest: Option<String>,
    /// The interface that the library was built with.
    pub interface: String,
    /// The interface of the host that tested it.
    pub host_interface: String,
    /// The platform, as Rust names it.
    pub target: String,
    /// `debug` or `release`.
    pub profile: String,
    /// What the open store claimed.
    pub capabilities: Claims,
}

/// What an open store claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Levels by their names.
    #[serde(flatten)]
    pub levels: BTreeMap<String, String>,
    /// Single abilities.
    pub features: Vec<String>,
    /// Bounds.
    pub limits: BTreeMap<String, u64>,
}

impl Facts {
    pub(crate) fn of(plugin: &Plugin, capabilities: &Capabilities) -> Self {
        let descriptor = plugin.descriptor();
        let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            plugin: descriptor.name.clone(),
            version: descriptor.version.to_string(),
            digest: plugin.digest().map(|digest| digest.to_string()),
            interface: descriptor.interface.to_string(),
            host_interface: INTERFACE_VERSION.to_owned(),
            target: descriptor.target(),
            profile: descriptor.profile.clone(),
            capabilities: Claims {
                levels: capabilities.levels().into_iter().map(text).collect(),
                features: capabilities.features.names().into_iter().map(str::to_owned).collect(),
                limits: capabilities
                    .limits
                    .named()
                    .into_iter()
                    .map(|(name, limit)| (name.to_owned(), limit))
                    .collect(),
            },
        }
    }
}
