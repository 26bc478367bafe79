//! The shared library `keyway_memory`: it exports the backend of the crate `keyway-memory` and does nothing else.

keyway_sdk::export_backend!(keyway_memory_backend::Memory);
