//! Stage 9: generations of open backends, by name.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Deref,
    sync::{
        Arc, PoisonError, RwLock,
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
    fallback: Option<String>,
}

impl Generation {
    pub(crate) fn new(
        backend: String,
        plugin: Plugin,
        store: Box<dyn Store>,
        context: &'static ServiceContext,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed), backend, plugin, store, context, fallback: None }
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

    pub(crate) fn fallen_back(self, fallback: Option<String>) -> Self {
        Self { fallback, ..self }
    }

    /// Why it was not opened with the plugin that the configuration asks for; none where it was.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
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

/// Why a backend is not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// In a few words, without paths: for whoever asks.
    pub summary: String,
    /// What was tried, where, and what to do: for operators.
    pub reason: String,
}

/// A backend's place: its present generation, or why there is none.
#[derive(Debug)]
pub struct Slot {
    backend: String,
    state: RwLock<Result<Arc<Generation>, Down>>,
}

impl Slot {
    /// The place of a backend that is not open yet.
    pub fn new(backend: &str) -> Self {
        let waiting = "it is being opened".to_owned();
        let down = Down { summary: waiting.clone(), reason: waiting };
        Self { backend: backend.to_owned(), state: RwLock::new(Err(down)) }
    }

    /// The backend's name in the configuration.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// The present generation, or why there is none.
    ///
    /// # Errors
    ///
    /// `Down`.
    pub fn generation(&self) -> Result<Arc<Generation>, Down> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a generation into it.
    pub fn open(&self, generation: Generation) {
        self.set(Ok(Arc::new(generation)));
    }

    /// Says why there is none.
    pub fn close(&self, down: Down) {
        self.set(Err(down));
    }

    fn set(&self, state: Result<Arc<Generation>, Down>) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

impl From<Generation> for Slot {
    fn from(generation: Generation) -> Self {
        Self { backend: generation.backend.clone(), state: RwLock::new(Ok(Arc::new(generation))) }
    }
}

/// The places of all backends.
#[derive(Debug, Default)]
pub struct Backends {
    by_name: BTreeMap<String, Arc<Slot>>,
}

impl Backends {
    /// Registers a place.
    pub fn register(&mut self, slot: impl Into<Slot>) -> Arc<Slot> {
        let slot = Arc::new(slot.into());
        self.by_name.insert(slot.backend.clone(), Arc::clone(&slot));
        slot
    }

    /// All places, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.by_name.values()
    }
}
