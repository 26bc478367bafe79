//! `keyway server`.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use keyway_common::offload;
use keyway_server::{Server, StartOptions, config::Config, core_dumps, files, log::Log, signals};
use tokio::runtime::Builder;

use super::failure::{Failure, of_config, of_server};

/// How long threads that still run are waited for at the end.
const LINGER: Duration = Duration::from_secs(1);

/// Runs a server until it is interrupted.
pub(super) fn run(config: &Path, options: StartOptions) -> Result<(), Failure> {
    let begun = Instant::now();
    let is_heap_prepared = offload::prepare_heap();
    signals::survive().map_err(|error| Failure::Other(format!("handle signals: {error}")))?;
    let log = Log::start().map_err(|error| Failure::Other(format!("start the log: {error}")))?;
    if !is_heap_prepared {
        tracing::warn!("memory that large requests have freed may stay with the server");
    }
    let ended = serve(config, options, &log, begun).map_err(|failure| {
        // Written to the log, after its lines so far, without waiting for its reader.
        log.write(&format!("keyway: {}\n", failure.message()));
        Failure::Told { exit_code: failure.exit_code() }
    });
    log.flush();
    ended
}

fn serve(config: &Path, options: StartOptions, log: &Log, begun: Instant) -> Result<(), Failure> {
    let config = Config::read(config).map_err(of_config)?;
    core_dumps::disable().map_err(|error| Failure::Other(format!("switch core dumps off: {error}")))?;
    if let Err(error) = files::raise_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("start the runtime: {error}")))?;
    let served = runtime.block_on(async {
        // One listener from the beginning: a signal between two would be lost.
        let mut stop = std::pin::pin!(interrupted());
        let server = tokio::select! {
            started = Server::start(config, options) => started.map_err(of_server)?,
            () = &mut stop => {
                tracing::warn!("stopped before it was ready");
                return Ok(());
            }
        };
        let address = server.address().map_err(of_server)?;
        tracing::info!(%address, ready_after_ms = begun.elapsed().as_millis(), "ready");
        let scheme = if server.has_tls() { "https" } else { "http" };
        log.announce(&format!("Keyway is ready at {scheme}://{address}\n"));
        for (backend, why) in server.down() {
            log.announce(&format!("Backend {backend} is not available: {why}; the log says more\n"));
        }
        for backend in server.fallen_back() {
            log.announce(&format!(
                "Backend {backend} uses a FALLBACK, not the plugin that is configured; the log says why\n"
            ));
        }
        // After a second signal, the server does not wait for open requests.
        tokio::select! {
            () = server.run(stop) => {}
            () = async { interrupted().await; interrupted().await } => tracing::warn!("stopped at once"),
        }
        Ok(())
    });
    // A plugin may keep a thread for ever; the server does not wait for it.
    runtime.shutdown_timeout(LINGER);
    served
}

/// Resolves at Ctrl-C, and at SIGTERM if there is one.
pub(super) async fn interrupted() {
    let ctrl_c = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot wait for Ctrl-C");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "cannot wait for SIGTERM");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = ctrl_c => {}
        () = terminate => {}
    }
}
