//! What a request has and its endpoint does not read, for the warnings of the answer.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// The names that a request has and its endpoint does not read.
#[derive(Debug, Default)]
pub(super) struct Unread(Mutex<BTreeSet<String>>);

impl Unread {
    /// Adds a name.
    pub(super) fn add(&self, name: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
    }

    /// The warning about them; none if everything was read.
    pub(super) fn warning(self) -> Option<String> {
        let names = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = names.into_iter().collect();
        let text = || format!("Endpoint ignored these unrecognized parameters: [{}]", names.join(" "));
        (!names.is_empty()).then(text)
    }
}
