//! The state of swaps, and the requests for them.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use keyway_loader::{
    Loader, Requirement, Wanted,
    swap::{Data, Deadlines},
};
use serde_json::Value;

/// A backend's section.
#[derive(Debug, Clone)]
pub struct BackendSettings {
    /// Which plugin, perhaps with a version, and whether another will do.
    pub wanted: Wanted,
    /// The plugin's own settings, as JSON.
    pub config: serde_json::Value,
}

/// What the configuration says about swaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwapSettings {
    /// How long each step may take.
    pub deadlines: Deadlines,
    /// For how long a new generation is watched; zero is not at all.
    pub watch: Duration,
    /// With more failed calls of 100 it is rolled back.
    pub error_percent: u32,
    /// With a longer time for 95 of 100 calls it is rolled back.
    pub latency: Duration,
    /// Most images of plugins in the process.
    pub images: usize,
}

impl Default for SwapSettings {
    fn default() -> Self {
        Self {
            deadlines: Deadlines::default(),
            watch: Duration::from_secs(60),
            error_percent: 10,
            latency: Duration::from_secs(2),
            images: 64,
        }
    }
}

/// Where the server's plugins come from.
pub struct PluginSource {
    /// Finds and loads them.
    pub loader: Arc<Loader>,
    /// Where relative paths of their settings begin.
    pub data_dir: PathBuf,
    /// What each backend asks for.
    pub backends: BTreeMap<String, BackendSettings>,
    /// How they are swapped.
    pub swaps: SwapSettings,
}

/// A request for a swap.
#[derive(Debug, Clone)]
pub struct SwapRequest {
    /// Back to the generation before.
    pub back: bool,
    /// Which plugin; none is the one of the configuration.
    pub plugin: Option<Requirement>,
    /// Which settings; none are those of the configuration.
    pub config: Option<Value>,
    /// What becomes of the data of a volatile store.
    pub data: Data,
    /// Only if this generation serves.
    pub only_from: Option<u64>,
}

impl SwapRequest {
    /// To the newest version that the configuration asks for, with its settings.
    pub const NEWEST: Self =
        Self { back: false, plugin: None, config: None, data: Data::Kept, only_from: None };
    /// To the generation before.
    pub const BACK: Self = Self { back: true, ..Self::NEWEST };
}

/// What starts a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A client with a token.
    Request,
    /// A configuration that was read again.
    Reload,
    /// A watched generation that does worse than the configuration allows.
    Watch,
}

impl Trigger {
    /// Its name in answers, the log and the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Reload => "reload",
            Self::Watch => "watch",
        }
    }
}

/// What became of the last swap of a backend.
#[derive(Debug, Clone)]
pub struct LastSwap {
    /// When it ended, in RFC 3339.
    pub time: String,
    /// What started it.
    pub by: Trigger,
    /// What became of it.
    pub outcome: &'static str,
    /// The versions, or why it failed.
    pub detail: String,
}

/// The state of swaps.
#[derive(Default)]
pub(in crate::core) struct Swaps {
    pub(super) source: RwLock<Option<Arc<PluginSource>>>,
    pub(super) last: Mutex<BTreeMap<String, LastSwap>>,
    pub(super) counts: Mutex<BTreeMap<(String, &'static str), u64>>,
}

impl Swaps {
    pub(super) fn source(&self) -> Option<Arc<PluginSource>> {
        self.source.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(in crate::core) fn note(&self, backend: &str, last: LastSwap) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((backend.to_owned(), last.outcome)).or_default() += 1;
        self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(backend.to_owned(), last);
    }
}
