//! Puts the server together: loads plugins, opens backends, listens, and ends in order.

pub mod config;
pub mod core_dumps;
pub mod files;
mod listen;
pub mod log;
mod opener;
mod patient;
mod reload;
mod serve;
pub mod signals;
mod tls;

use std::{
    env, fs,
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use keyway_api::{self, Edge, EdgeSettings, OpenRoutes};
use keyway_common::metrics::Metrics;
use keyway_core::{Core, CoreError, CoreSettings, Supply};
use keyway_loader::{
    Backends, History, Loader, Origin, Prober, SearchPath,
    stage::{self, StageError},
};
use keyway_storage::{BACKGROUND, Storage};
use thiserror::Error;
use uuid::Uuid;

pub use self::tls::{Tls, TlsError};
use self::{
    opener::Opener,
    reload::Reloader,
    serve::{ConnectionMetrics, Serving},
};
use crate::config::{Config, STAGING};

/// The command that loads a plugin in a process of its own.
pub const PROBE_COMMAND: &str = "probe-plugin";

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
    /// There is no place for the private copies of plugins.
    #[error(transparent)]
    Staging(#[from] StageError),
    /// There is no program to probe plugins with.
    #[error("find this program's own file, which probes plugins")]
    Program(#[source] io::Error),
    /// A directory whose plugins nobody checks.
    #[error(
        "[trust] leaves plugins unchecked (policy \"none\"), and a plugin in the server can read every key and secret; \
         write policy = \"lock\" and run `keyway plugin lock --config FILE`, or start with --dev to develop plugins"
    )]
    Unchecked,
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
    /// A socket was handed over that is not what the configuration says.
    #[error("take over the socket that systemd listens on: {reason}")]
    HandedOver {
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody can say that the configuration has changed.
    #[error("wait for SIGHUP")]
    Signal(#[source] io::Error),
    /// The listener has no address.
    #[error("ask for the address of the listener")]
    Address(#[source] io::Error),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What the command line says beside the configuration.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// Directories to look for plugins in, before all others.
    pub plugin_dirs: Vec<PathBuf>,
    /// Start over after the store of that cluster was lost.
    pub forget: Option<Uuid>,
    /// Whether plugins may be left unchecked.
    pub dev: bool,
}

/// A server that is ready to run.
pub struct Server {
    serving: Serving,
    core: Arc<Core>,
    /// Opens the backends that are not open yet, until it is dropped.
    opener: Option<Opener>,
}

impl Server {
    /// Opens the backends and binds the address, in this order: a server that listens can serve, but for what cannot be
    /// opened, which keeps nobody else from being served.
    ///
    /// # Errors
    ///
    /// See [`ServerError`].
    pub async fn start(config: Config, options: StartOptions) -> Result<Self, ServerError> {
        if config.trust.has_unchecked() {
            if !options.dev {
                return Err(ServerError::Unchecked);
            }
            tracing::warn!("plugins are NOT CHECKED before they run: policy none, --dev");
        }
        make_private(&config.data_dir)
            .map_err(|source| ServerError::DataDir { path: config.data_dir.clone(), source })?;
        warn_of_writable_lock(&config.trust.lock_file);
        let tls = config.tls.as_ref().map(Tls::read).transpose()?;
        let loader = Arc::new(loader(&config, &options.plugin_dirs).map_err(ServerError::Program)?);
        stage::prepare(&loader.staging_dir)?;
        loader.history.count_crashes();
        let reloader = Reloader::begin(&config, &options)?;
        let (opener, backends) = Opener::begin(&loader, &config).await;
        let mut server = Self::over(&backends, &config, tls).await?;
        server.opener = Some(opener);
        let (backends, swaps, data_dir) = (config.backends.clone(), config.swaps, config.data_dir.clone());
        server.core.take_from(Supply { loader, data_dir, backends, swaps });
        reloader.follow(&server.core);
        if let Some(cluster) = options.forget {
            server.core.forget_store(&BACKGROUND, cluster).await?;
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
            key_age: config.key_age,
            data_dir: config.data_dir.clone(),
            calls: config.limits.calls,
            audit: config.audit.clone(),
            passwords: config.passwords,
        };
        let core = Arc::new(Core::new(backends, settings, &metrics)?);
        let open = OpenRoutes { metrics: config.open_metrics, ceremonies: config.open_ceremonies };
        let limits = config.limits.requests;
        let settings = EdgeSettings { limits, open, log_lines_dropped: log::lines_dropped };
        let edge = Edge::new(Arc::clone(&core), metrics.clone(), settings);
        let listener = listen::listener(config.listen).await?;
        let serving = Serving {
            listener,
            tls,
            router: keyway_api::router(edge),
            metrics: ConnectionMetrics::new(&metrics),
            connections: config.limits.connections,
            drain: config.limits.drain,
        };
        Ok(Self { serving, core, opener: None })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// When the operating system does not say.
    pub fn address(&self) -> Result<SocketAddr, ServerError> {
        self.serving.listener.local_addr().map_err(ServerError::Address)
    }

    /// The backends that are not open, with the reason in a few words.
    pub fn down(&self) -> Vec<(String, String)> {
        let down = |storage: &Storage| Some((storage.name().to_owned(), storage.generation().err()?.summary));
        self.core.backends().filter_map(down).collect()
    }

    /// The backends that were opened with another plugin than the one that is configured.
    pub fn fallen_back(&self) -> Vec<String> {
        let fell_back = |storage: &&Storage| storage.generation().is_ok_and(|open| open.fallback().is_some());
        self.core.backends().filter(fell_back).map(|storage| storage.name().to_owned()).collect()
    }

    /// Whether it speaks TLS.
    pub fn has_tls(&self) -> bool {
        self.serving.tls.is_some()
    }

    /// Serves until `shutdown` resolves, then finishes what it accepted and closes the backends.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { serving, core, opener } = self;
        serving.run(shutdown).await;
        // Nothing is opened behind the back of what closes.
        drop(opener);
        core.shutdown(&BACKGROUND).await;
        tracing::info!("stopped");
    }
}

/// The loader that a configuration asks for, with its history in the data directory.
///
/// # Errors
///
/// When this program does not know its own file, from which it starts probes.
pub fn loader(config: &Config, plugin_dirs: &[PathBuf]) -> io::Result<Loader> {
    let staging_dir = config.data_dir.join(STAGING);
    Ok(Loader {
        search: search_path(plugin_dirs, &config.plugin_dirs),
        trust: config.trust.clone(),
        libraries: config.libraries.clone(),
        prober: Some(Prober::this_program(vec![PROBE_COMMAND.into()])?),
        history: History::new(staging_dir.clone()),
        staging_dir,
        host: env!("CARGO_PKG_VERSION").to_owned(),
        most_images: config.swaps.images,
    })
}

/// Whoever takes the server over could let himself in again at the next start.
fn warn_of_writable_lock(path: &Path) {
    #[cfg(unix)]
    {
        use rustix::fs::{Access, access};
        let is_root = rustix::process::geteuid().is_root();
        let directory = path.parent().unwrap_or(path);
        let writable = [path, directory].into_iter().find(|path| access(*path, Access::WRITE_OK).is_ok());
        if let Some(writable) = writable.filter(|_| !is_root) {
            tracing::warn!(
                path = %writable.display(),
                "this server's user may change which plugins it runs; in production let another user own the configuration"
            );
        }
    }
    #[cfg(not(unix))]
    let _ = path;
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
