//! Puts the server together: loads plugins, opens backends, listens, and ends in order.

pub mod core_dumps;
pub mod files;
mod patient;
mod serve;
mod tls;

use std::{
    env, fs,
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use keyway_loader::{
    BackendConfig, Backends, ConfigureError, LoadError, Loader, Origin, SearchPath, configure::configure,
};
use thiserror::Error;
use tokio::net::TcpListener;
use uuid::Uuid;

use self::serve::Serving;
pub use self::tls::{Tls, TlsError, TlsFiles};
use crate::{
    config::Config,
    core::{Core, CoreError, CoreSettings},
    http::{self, Edge},
    metrics::Metrics,
    storage::RequestId,
};

/// How long opening one backend may take.
const OPEN: Duration = Duration::from_secs(30);

/// Why the server does not start or has stopped.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The data directory cannot be made.
    #[error("prepare the data directory {}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A plugin cannot be used.
    #[error("backend {backend:?} is not available: {source}")]
    Load {
        /// Which backend.
        backend: String,
        /// What was tried.
        source: Box<LoadError>,
    },
    /// A backend cannot be opened.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// A backend takes too long to open.
    #[error("backend {backend:?} did not open within {} s", OPEN.as_secs())]
    OpenTimeout {
        /// Which backend.
        backend: String,
    },
    /// The stores are not this server's, or not configured.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The address is in use, or not this machine's.
    #[error(
        "listen on {address}: {source}; stop what listens there, or set another `listen` in the configuration"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The listener has no address.
    #[error("ask for the address of the listener")]
    Address(#[source] io::Error),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A server that is ready to run.
pub struct Server {
    serving: Serving,
    core: Arc<Core>,
}

impl Server {
    /// Opens the backends and binds the address, in this order: a server that listens can serve. `forget` starts over after
    /// the store of that cluster was lost.
    ///
    /// # Errors
    ///
    /// See [`ServerError`].
    pub async fn start(
        config: Config,
        plugin_dirs: &[PathBuf],
        forget: Option<Uuid>,
    ) -> Result<Self, ServerError> {
        make_private(&config.data_dir)
            .map_err(|source| ServerError::DataDir { path: config.data_dir.clone(), source })?;
        let loader = Loader {
            search: search_path(plugin_dirs, &config.plugin_dirs),
            staging_dir: config.data_dir.join("plugins"),
            trust: config.trust.clone(),
        };
        let tls = config.tls.as_ref().map(Tls::read).transpose()?;
        let backends = open_backends(&loader, &config).await?;
        let server = Self::over(&backends, &config, tls).await?;
        if let Some(cluster) = forget {
            server.core.forget_store(RequestId::BACKGROUND, cluster).await?;
        }
        if let (Some(tls), Some(files)) = (&server.serving.tls, config.tls) {
            tls.follow(files);
        }
        Ok(server)
    }

    /// A server over open backends.
    ///
    /// # Errors
    ///
    /// See [`ServerError`].
    pub async fn over(backends: &Backends, config: &Config, tls: Option<Tls>) -> Result<Self, ServerError> {
        let metrics = Metrics::new();
        let settings = CoreSettings {
            system_backend: config.system_backend.clone(),
            mounts: config.mounts.clone(),
            key_uses: config.key_uses,
            data_dir: config.data_dir.clone(),
            calls: config.limits.calls,
        };
        let core = Arc::new(Core::new(backends, settings, &metrics)?);
        let edge = Edge::new(Arc::clone(&core), metrics.clone(), &config.limits, config.open_metrics);
        let address = config.listen;
        let listener =
            TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })?;
        let serving = Serving {
            listener,
            tls,
            router: http::router(edge),
            metrics,
            connections: config.limits.connections,
            drain: config.limits.drain,
        };
        Ok(Self { serving, core })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// When the operating system does not say.
    pub fn address(&self) -> Result<SocketAddr, ServerError> {
        self.serving.listener.local_addr().map_err(ServerError::Address)
    }

    /// Whether it speaks TLS.
    pub fn has_tls(&self) -> bool {
        self.serving.tls.is_some()
    }

    /// Serves until `shutdown` resolves, then finishes what it accepted and closes the backends.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        self.serving.run(shutdown).await;
        self.core.shutdown(RequestId::BACKGROUND).await;
        tracing::info!("stopped");
    }
}

async fn open_backends(loader: &Loader, config: &Config) -> Result<Backends, ServerError> {
    let mut backends = Backends::default();
    for (name, settings) in &config.backends {
        let plugin = loader
            .load(&settings.plugin)
            .map_err(|source| ServerError::Load { backend: name.clone(), source })?;
        let backend = BackendConfig {
            name: name.clone(),
            config: settings.config.clone(),
            data_dir: config.data_dir.clone(),
        };
        let generation = tokio::time::timeout(OPEN, configure(&plugin, &backend))
            .await
            .map_err(|_| ServerError::OpenTimeout { backend: name.clone() })??;
        tracing::info!(backend = name, plugin = %plugin.descriptor(), "backend open");
        backends.register(generation);
    }
    Ok(backends)
}

/// Where plugins are looked for, in the order in which the places count. Never the current directory.
pub fn search_path(command_line: &[PathBuf], configured: &[PathBuf]) -> Vec<SearchPath> {
    let named = |directory: &Path, origin| SearchPath { directory: directory.to_owned(), origin };
    let environment = env::var_os("KEYWAY_PLUGIN_PATH").unwrap_or_default();
    let mut search: Vec<SearchPath> =
        command_line.iter().map(|path| named(path, Origin::CommandLine)).collect();
    search.extend(
        env::split_paths(&environment)
            .filter(|path| path.is_absolute())
            .map(|path| named(&path, Origin::Environment)),
    );
    search.extend(configured.iter().map(|path| named(path, Origin::Configuration)));
    search.extend(user_plugins().map(|path| named(&path, Origin::User)));
    search.push(named(Path::new("/usr/lib/keyway/plugins"), Origin::System));
    let beside =
        env::current_exe().ok().and_then(|program| program.parent().map(|path| path.join("plugins")));
    search.extend(beside.map(|path| named(&path, Origin::Bundled)));
    search
}

/// By the XDG Base Directory Specification.
fn user_plugins() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data =
        absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))?;
    Some(data.join("keyway/plugins"))
}

#[cfg(unix)]
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(not(unix))]
fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}
