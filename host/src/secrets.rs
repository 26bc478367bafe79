//! The secrets engine: versioned secrets with check-and-set, over any backend.
//!
//! [`path`] parses names, [`metadata`] is what is known of a secret, [`record`] how it lies in the store, [`engine`] the
//! operations.

pub mod engine;
pub mod metadata;
pub mod path;
mod race;
pub mod record;

pub use engine::{Engine, EngineError, Found, Read, Write};
pub use metadata::{Metadata, VersionMetadata};
pub use path::{FolderPath, SecretPath};
