//! Stage 9: generations of open backends, by name. [`generation`] is one opening, [`slot`] the place in which
//! one follows the other.

mod generation;
mod slot;

use std::{collections::BTreeMap, sync::Arc};

pub use self::{
    generation::{Generation, InUse},
    slot::{Down, Pin, Slot},
};

/// The places of all backends.
#[derive(Debug, Default)]
pub struct Backends {
    by_name: BTreeMap<String, Arc<Slot>>,
}

impl Backends {
    /// Registers a place.
    pub fn register(&mut self, slot: impl Into<Slot>) -> Arc<Slot> {
        let slot = Arc::new(slot.into());
        self.by_name.insert(slot.backend().to_owned(), Arc::clone(&slot));
        slot
    }

    /// All places, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.by_name.values()
    }

    /// The place of a backend.
    pub fn get(&self, backend: &str) -> Option<&Arc<Slot>> {
        self.by_name.get(backend)
    }
}
