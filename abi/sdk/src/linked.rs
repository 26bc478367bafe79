//! A backend without a shared library.

use crate::{Backend, export};

/// A backend linked into the same binary, for tests: the same bridge without a shared library.
pub fn linked<B: Backend>() -> keyway_abi::StorageBackendRef {
    export::linked_root::<B>()
}
