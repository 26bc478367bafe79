//! The images that this process has mapped. None is ever unmapped, so that their number only grows.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::stage::Digest;

/// By digest: equal digests share one image and its statics.
static MAPPED: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// How many images are mapped, and how many bytes their files have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Images {
    /// The images.
    pub count: usize,
    /// The bytes of their files; what of it is in memory, the system decides.
    pub bytes: u64,
}

/// The images that this process has mapped, by whichever loader.
pub fn images() -> Images {
    let mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    Images { count: mapped.len(), bytes: mapped.values().sum() }
}

/// Takes a place for an image, unless there are `most` already; answers how many there are then. One that is
/// mapped already needs none.
pub(super) fn take(digest: Digest, bytes: u64, most: usize) -> Result<(), usize> {
    let mut mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    let name = digest.to_string();
    if mapped.len() >= most && !mapped.contains_key(&name) {
        return Err(mapped.len());
    }
    mapped.insert(name, bytes);
    Ok(())
}
