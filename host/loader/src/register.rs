//! Stage 9: generations of open backends, by name.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{Plugin, Store, adapter::services::ServiceContext};

/// One opening of a backend. A swap makes a new one and retires the old.
pub struct Generation {
    number: u64,
    backend: String,
    plugin: Plugin,
    store: Box<dyn Store>,
    context: &'static ServiceContext,
}

impl Generation {
    pub(crate) fn new(
        backend: String,
        plugin: Plugin,
        store: Box<dyn Store>,
        context: &'static ServiceContext,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed), backend, plugin, store, context }
    }

    /// Counts openings in this process, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The backend's name in the configuration.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// The plugin that it was opened with.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// What the backend has measured: totals of counters, last values of the rest.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        self.context.metrics()
    }
}

impl Deref for Generation {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("number", &self.number)
            .field("backend", &self.backend)
            .field("plugin", &self.plugin.descriptor().name)
            .finish_non_exhaustive()
    }
}

/// The present generation of each backend.
#[derive(Debug, Default)]
pub struct Backends {
    by_name: BTreeMap<String, Arc<Generation>>,
}

impl Backends {
    /// Registers a generation; answers the one that it replaces.
    pub fn register(&mut self, generation: Generation) -> Option<Arc<Generation>> {
        self.by_name.insert(generation.backend.clone(), Arc::new(generation))
    }

    /// The present generation of a backend.
    pub fn get(&self, name: &str) -> Option<&Arc<Generation>> {
        self.by_name.get(name)
    }

    /// All present generations, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Generation>> {
        self.by_name.values()
    }
}
