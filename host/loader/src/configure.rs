//! Stage 8: checks the configuration against the plugin's schema, opens the store, and asks how it is doing.

use std::path::{Path, PathBuf};

use keyway_abi::{CallContext, Error, Health};
use serde_json::Value;
use thiserror::Error;

use crate::{Descriptor, Plugin, Reply, Store, register::Generation, services, settings::BackendConfig};

/// Why a backend could not be opened.
#[derive(Debug, Error)]
pub enum ConfigureError {
    /// The plugin's own schema is none.
    #[error("the configuration schema of plugin {plugin} is invalid: {message}")]
    Schema {
        /// Which plugin.
        plugin: String,
        /// Why.
        message: String,
    },
    /// The settings do not follow the schema.
    #[error("the configuration of backend {backend:?} does not suit plugin {plugin}: {problems}")]
    Invalid {
        /// Which backend.
        backend: String,
        /// Which plugin.
        plugin: String,
        /// Each place and its problem.
        problems: String,
    },
    /// A directory whose name is not Unicode.
    #[error("the data directory {} is not Unicode, and plugins need it to be", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system gives no random bytes.
    #[error("no random bytes for the key of cursors")]
    Random {
        /// Why.
        source: getrandom::Error,
    },
    /// The plugin could not open the store.
    #[error("backend {backend:?} (plugin {plugin}) cannot be opened")]
    Open {
        /// Which backend.
        backend: String,
        /// Which plugin.
        plugin: String,
        /// Why.
        source: Error,
    },
    /// The store promises more than the plugin's descriptor.
    #[error(
        "backend {backend:?} (plugin {plugin}) promises more of {what} than the plugin's descriptor does; do not use this \
         plugin, and tell its author"
    )]
    Claims {
        /// Which backend.
        backend: String,
        /// Which plugin.
        plugin: String,
        /// Which level, feature or limit.
        what: &'static str,
    },
    /// The store is open but does not work.
    #[error("backend {backend:?} (plugin {plugin}) is open but not healthy: {detail}")]
    Unhealthy {
        /// Which backend.
        backend: String,
        /// Which plugin.
        plugin: String,
        /// Its own words.
        detail: String,
    },
}

impl ConfigureError {
    /// Whether another try may succeed without an operator's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::Unhealthy { .. } | Self::Random { .. })
    }

    /// In a few words, without paths.
    pub fn summary(&self) -> &'static str {
        match self {
            Self::Schema { .. } | Self::Invalid { .. } | Self::DataDir { .. } => {
                "its configuration does not suit its plugin"
            }
            Self::Random { .. } | Self::Open { .. } => "its store cannot be opened",
            Self::Claims { .. } => "its store promises more than its plugin",
            Self::Unhealthy { .. } => "its store is open but not healthy",
        }
    }
}

/// Opens a store with a plugin.
///
/// # Errors
///
/// `Schema`, `Invalid` or `DataDir` for the settings; `Random` if the system gives no random bytes; `Open` if
/// the plugin does not open the store; `Claims` if the store promises more than its descriptor; `Unhealthy`.
pub async fn configure(plugin: &Plugin, backend: &BackendConfig) -> Result<Generation, ConfigureError> {
    let mut cursor_key = [0; 32];
    getrandom::fill(&mut cursor_key).map_err(|source| ConfigureError::Random { source })?;
    configure_with(plugin, backend, cursor_key).await
}

/// The same, with the key of a former generation, so that its cursors go on.
pub(crate) async fn configure_with(
    plugin: &Plugin,
    backend: &BackendConfig,
    cursor_key: [u8; 32],
) -> Result<Generation, ConfigureError> {
    let plugin_name = plugin.descriptor().label();
    check_settings(plugin.descriptor(), &backend.name, &backend.config)?;
    let failed =
        |source| ConfigureError::Open { backend: backend.name.clone(), plugin: plugin_name.clone(), source };
    let (opening, context) = open(plugin, backend, cursor_key)?;
    let store = opening.await.map_err(failed)?;
    let checked = match check_claims(&store, plugin, backend, &plugin_name) {
        Ok(()) => check_health(&store, backend, &plugin_name).await,
        Err(error) => Err(error),
    };
    if let Err(error) = checked {
        // It holds locks and threads, which the next attempt needs.
        if let Err(error) = store.shutdown(&CallContext::background()).await {
            tracing::warn!(backend = backend.name, %error, "a backend that is not healthy did not close");
        }
        return Err(error);
    }
    Ok(Generation::new(backend.clone(), plugin.clone(), store, context, cursor_key))
}

/// The descriptor decided about the plugin, so the open store must keep to it.
fn check_claims(
    store: &Store,
    plugin: &Plugin,
    backend: &BackendConfig,
    plugin_name: &str,
) -> Result<(), ConfigureError> {
    match store.capabilities().beyond(&plugin.descriptor().capabilities) {
        None => Ok(()),
        Some(what) => {
            let (backend, plugin) = (backend.name.clone(), plugin_name.to_owned());
            Err(ConfigureError::Claims { backend, plugin, what })
        }
    }
}

async fn check_health(store: &Store, backend: &BackendConfig, plugin: &str) -> Result<(), ConfigureError> {
    let (backend, plugin) = (backend.name.clone(), plugin.to_owned());
    let health: Health = match store.health(&CallContext::background()).await {
        Ok(health) => health,
        Err(source) => return Err(ConfigureError::Open { backend, plugin, source }),
    };
    if health.is_ready() {
        return Ok(());
    }
    let (live, readable, writable) = (health.is_live(), health.is_readable(), health.is_writable());
    let detail = format!("live: {live}, readable: {readable}, writable: {writable}. {}", health.detail());
    Err(ConfigureError::Unhealthy { backend, plugin, detail })
}

/// Calls the plugin's `open`. Borrowed arguments live as long as the call.
fn open(
    plugin: &Plugin,
    backend: &BackendConfig,
    cursor_key: [u8; 32],
) -> Result<(Reply<Store>, &'static services::ServiceContext), ConfigureError> {
    let config_json = backend.config.to_string();
    let opening = services::Opening {
        backend_name: &backend.name,
        config_json: &config_json,
        data_dir: text_of(&backend.data_dir)?,
        cursor_key,
    };
    Ok(services::open(plugin.root, &opening))
}

fn text_of(path: &Path) -> Result<&str, ConfigureError> {
    path.to_str().ok_or_else(|| ConfigureError::DataDir { path: path.to_owned() })
}

/// Checks a backend's settings against a plugin's schema. Runs no code of it.
///
/// # Errors
///
/// `Schema` or `Invalid`.
pub fn check_settings(descriptor: &Descriptor, backend: &str, config: &Value) -> Result<(), ConfigureError> {
    let validator = jsonschema::validator_for(&descriptor.config_schema)
        .map_err(|error| ConfigureError::Schema { plugin: descriptor.label(), message: error.to_string() })?;
    // The values stay out of the text: one of them may be a password.
    let problems: Vec<String> = validator
        .iter_errors(config)
        .map(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "config".to_owned() } else { format!("config{place}") };
            format!("{place}: {}", error.masked())
        })
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(ConfigureError::Invalid {
        backend: backend.to_owned(),
        plugin: descriptor.label(),
        problems: problems.join("; "),
    })
}
