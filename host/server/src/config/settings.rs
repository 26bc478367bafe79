//! A configuration that was checked.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use keyway_api::RequestLimits;
use keyway_core::{
    BackendSettings, SwapSettings, audit::AuditSettings, barrier::UseBound, mounts::MountConfig,
};
use keyway_loader::Trust;
use keyway_storage::CallLimits;

/// The name of the lock file next to the configuration.
pub(crate) const LOCK_FILE: &str = "keyway.lock";

/// The directory of the private copies of plugins, in the data directory.
pub(crate) const STAGING: &str = "plugins";

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The certificate; none is a plain listener.
    pub tls: Option<TlsFiles>,
    /// Bounds.
    pub limits: Limits,
    /// Whether any client may read the metrics.
    pub open_metrics: bool,
    /// Where the server keeps its own files; absolute.
    pub data_dir: PathBuf,
    /// Where plugins are looked for; absolute.
    pub plugin_dirs: Vec<PathBuf>,
    /// The backend that holds keys, tokens and mounts.
    pub system_backend: String,
    /// Which plugins may run.
    pub trust: Trust,
    /// The libraries that plugins may need, besides the system's.
    pub libraries: Vec<String>,
    /// How often a key is used before it is rotated.
    pub key_uses: UseBound,
    /// How old a key becomes before it is rotated; none is any age.
    pub key_age: Option<Duration>,
    /// Whether a password may unseal.
    pub passwords: bool,
    /// Whether the holders of the shares need no token to rekey, or to make a root token.
    pub open_ceremonies: bool,
    /// How backends are swapped.
    pub swaps: SwapSettings,
    /// The audit log.
    pub audit: AuditSettings,
    /// The backends by name.
    pub backends: BTreeMap<String, BackendSettings>,
    /// The mounts by path, without slashes at the ends.
    pub mounts: BTreeMap<String, MountConfig>,
}

/// The limits of the whole server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most connections; further ones wait to be accepted.
    pub connections: usize,
    /// How long requests that run may take after the signal to stop.
    pub drain: Duration,
    /// Around each request.
    pub requests: RequestLimits,
    /// Around each backend.
    pub calls: CallLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8_192,
            drain: Duration::from_secs(30),
            requests: RequestLimits::default(),
            calls: CallLimits::default(),
        }
    }
}

/// The files of a server's certificate, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those of its issuers.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Who signs the certificates that clients show; none asks for none.
    pub clients: Option<ClientAuthority>,
}

/// Who signs the certificates that clients show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthority {
    /// The certificates of the authorities, in PEM.
    pub file: PathBuf,
    /// Whether a client that shows none is refused. One that shows another's is refused in any case.
    pub is_required: bool,
}
