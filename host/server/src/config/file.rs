//! The file as it is written: sections and keys, none of them unknown.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use keyway_core::mounts::MountConfig;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default = "default_listen")]
    pub(super) listen: String,
    pub(super) data_dir: PathBuf,
    #[serde(default)]
    pub(super) plugin_dirs: Vec<PathBuf>,
    pub(super) system_backend: String,
    pub(super) tls: Option<TlsSection>,
    pub(super) trust: Option<TrustSection>,
    #[serde(default)]
    pub(super) keys: KeysSection,
    #[serde(default)]
    pub(super) limits: LimitsSection,
    #[serde(default)]
    pub(super) metrics: MetricsSection,
    #[serde(default)]
    pub(super) swap: SwapSection,
    #[serde(default)]
    pub(super) seal: SealSection,
    #[serde(default)]
    pub(super) audit: AuditSection,
    pub(super) backends: BTreeMap<String, BackendSection>,
    #[serde(default)]
    pub(super) mounts: BTreeMap<String, MountConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrustSection {
    /// Of all directories that are not named below.
    pub(super) policy: Option<String>,
    /// Of single directories.
    #[serde(default)]
    pub(super) directories: BTreeMap<PathBuf, String>,
    /// Whose signatures are believed, by a name for people.
    #[serde(default)]
    pub(super) keys: BTreeMap<String, TrustedKeySection>,
    /// Libraries that plugins may need, besides the system's.
    #[serde(default)]
    pub(super) libraries: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrustedKeySection {
    pub(super) public_key: String,
    pub(super) plugins: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysSection {
    /// How often a key is used before another takes its place.
    pub(super) max_uses: Option<u64>,
    /// How old a key becomes before another takes its place.
    pub(super) max_age_days: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackendSection {
    pub(super) plugin: String,
    #[serde(default)]
    pub(super) config: toml::Table,
    /// Whether another version will do if the one that is asked for cannot be loaded.
    #[serde(default = "yes")]
    pub(super) fallback: bool,
}

/// `tls = "off"`, or where the certificate is.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "tls is \"off\", or a section with cert_file and key_file")]
pub(super) enum TlsSection {
    Word(String),
    Files(TlsFilesSection),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsFilesSection {
    pub(super) cert_file: PathBuf,
    pub(super) key_file: PathBuf,
    /// The authorities whose certificates clients show.
    pub(super) client_ca_file: Option<PathBuf>,
    /// "required" or "optional".
    pub(super) client_auth: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricsSection {
    /// Whether any client may read them, sealed or not.
    #[serde(default)]
    pub(super) unauthenticated: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealSection {
    /// Whether a password may unseal, as another way besides the shares.
    #[serde(default)]
    pub(super) password: bool,
    /// Whether rekeying and making a root token by the shares need no token.
    #[serde(default)]
    pub(super) open_ceremonies: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditSection {
    /// Whether the API may add devices.
    #[serde(default)]
    pub(super) api: bool,
    #[serde(default)]
    pub(super) devices: Vec<AuditDeviceSection>,
}

/// A device. Any other name in the section is an option of the device.
#[derive(Debug, Deserialize)]
pub(super) struct AuditDeviceSection {
    /// None is the type.
    pub(super) name: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(flatten)]
    pub(super) options: BTreeMap<String, String>,
}

/// A missing setting has its default; see [`Limits`](super::Limits).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsSection {
    pub(super) connections: Option<u32>,
    pub(super) requests: Option<u32>,
    pub(super) request_s: Option<u32>,
    pub(super) body_memory_mib: Option<u32>,
    pub(super) backend_calls: Option<u32>,
    pub(super) backend_deadline_ms: Option<u32>,
    pub(super) drain_s: Option<u32>,
    pub(super) client_requests_per_s: Option<u32>,
    pub(super) client_attempts_per_minute: Option<u32>,
}

/// How backends are swapped. A missing setting has its default; see
/// [`SwapSettings`](keyway_core::SwapSettings).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SwapSection {
    pub(super) drain_s: Option<u32>,
    pub(super) open_s: Option<u32>,
    pub(super) close_s: Option<u32>,
    pub(super) copy_s: Option<u32>,
    pub(super) watch_s: Option<u32>,
    pub(super) max_error_percent: Option<u32>,
    pub(super) max_latency_ms: Option<u32>,
    pub(super) max_images: Option<u32>,
}

fn default_listen() -> String {
    "127.0.0.1:8200".to_owned()
}

fn yes() -> bool {
    true
}
