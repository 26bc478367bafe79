//! The configured backends.

use std::{collections::BTreeMap, sync::Arc};

use keyway_common::metrics::Metrics;
use keyway_loader::Backends;
use keyway_storage::{CallLimits, CallMetrics, Storage};

use super::CoreError;

/// The configured backends.
pub(super) struct BackendSet {
    /// The one that holds keys, tokens and mounts.
    pub(super) system: Storage,
    by_name: BTreeMap<String, Storage>,
}

impl BackendSet {
    /// All backends, of which `system` holds keys, tokens and mounts.
    ///
    /// # Errors
    ///
    /// `NoBackend` if `system` is not among them; `ReadsStale`.
    pub(super) fn new(
        backends: &Backends,
        system: &str,
        limits: CallLimits,
        metrics: &Metrics,
    ) -> Result<Self, CoreError> {
        let calls = CallMetrics::new(metrics);
        let by_name: BTreeMap<String, Storage> = backends
            .iter()
            .map(|slot| {
                let name = slot.backend();
                (name.to_owned(), Storage::guarded(Arc::clone(slot), limits, calls.backend(name)))
            })
            .collect();
        let no_backend = || CoreError::NoBackend { backend: system.to_owned() };
        let system = by_name.get(system).cloned().ok_or_else(no_backend)?;
        if let Some(stale) = by_name.values().find(|storage| storage.may_read_stale()) {
            return Err(CoreError::ReadsStale { backend: stale.name().to_owned() });
        }
        Ok(Self { system, by_name })
    }

    /// All of them, in the order of their names.
    pub(super) fn all(&self) -> impl Iterator<Item = &Storage> {
        self.by_name.values()
    }

    /// One of them.
    ///
    /// # Errors
    ///
    /// `NoBackend`.
    pub(super) fn get(&self, name: &str) -> Result<&Storage, CoreError> {
        self.by_name.get(name).ok_or_else(|| CoreError::NoBackend { backend: name.to_owned() })
    }
}
