//! Why the server does not start or has stopped.

use std::{io, net::SocketAddr, path::PathBuf};

use keyway_core::CoreError;
use keyway_loader::stage::StageError;
use thiserror::Error;

use crate::tls::TlsError;

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
    /// A directory whose plugins the server does not check.
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
        /// The problem.
        reason: String,
    },
    /// The server could not wait for the signal that the configuration has changed.
    #[error("wait for SIGHUP")]
    Signal(#[source] io::Error),
    /// The listener has no address.
    #[error("ask for the address of the listener")]
    Address(#[source] io::Error),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}
