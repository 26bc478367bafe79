//! The server: from its configuration to serving, and to its end.

use std::{fs, future::Future, io, net::SocketAddr, path::Path, sync::Arc};

use keyway_api::{Edge, EdgeSettings, OpenRoutes};
use keyway_common::metrics::Metrics;
use keyway_core::{Core, CoreSettings, PluginSource};
use keyway_loader::{Backends, stage};
use keyway_storage::{BACKGROUND, Storage};

use crate::{
    ServerError, StartOptions, Tls,
    config::Config,
    listen, log,
    opener::Opener,
    plugins::loader,
    reload::Reloader,
    serve::{ConnectionMetrics, Serving},
};

/// A server that is ready to run.
pub struct Server {
    serving: Serving,
    core: Arc<Core>,
    /// Opens the backends that are not open yet, until it is dropped.
    opener: Option<Opener>,
}

impl Server {
    /// Opens the backends and then binds the address. So a server that listens can serve, except for backends
    /// that could not be opened; the others serve all the same.
    ///
    /// # Errors
    ///
    /// `DataDir`, `Staging`, `Program` or `Unchecked` if plugins cannot be loaded here; `Core` if a
    /// configured backend must not be used; `Tls`, `Listen`, `HandedOver` or `Address` for the listener;
    /// `Signal` if signals cannot be handled.
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
        server.core.swapping().set_plugin_source(PluginSource { loader, data_dir, backends, swaps });
        reloader.follow(&server.core);
        if let Some(cluster) = options.forget {
            server.core.seal_control().forget_store(&BACKGROUND, cluster).await?;
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
    /// `Core` if the system backend is not configured, a backend may read stale, or the data directory's
    /// marker cannot be read; `Listen`, `HandedOver` or `Address` for the listener.
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
        // The opener ends first, so that it opens nothing while the backends close.
        drop(opener);
        core.shutdown(&BACKGROUND).await;
        tracing::info!("stopped");
    }
}

/// An attacker who takes the server over could let himself in again at the next start.
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

#[cfg(unix)]
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(not(unix))]
fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}
