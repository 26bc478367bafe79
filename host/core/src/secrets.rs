//! The secrets engine: versioned secrets with check-and-set, over any backend.
//!
//! [`path`] parses names, [`settings`] and [`metadata`] describe a secret, [`record`] lays it out in the
//! store. [`engine`] reads. [`mod@write`], [`versions`] and [`remove`] change a secret, each attempt as one
//! [`change`]; after a lost race, [`race`] repeats it. [`reencrypt`] seals again, [`upgrade`] gives versions
//! to secrets without, [`sweep`] cleans up after changes that broke off. [`merge`] applies patches.

mod change;
pub mod engine;
mod first_record;
pub mod merge;
pub mod metadata;
pub mod path;
mod plain;
mod race;
pub mod record;
pub mod reencrypt;
mod remove;
pub mod settings;
pub mod sweep;
pub mod upgrade;
pub mod versions;
pub mod write;

pub use engine::{Engine, EngineError, FoundVersion, Part, Read};
pub(crate) use first_record::first_record;
pub use metadata::{Metadata, VersionMetadata};
pub use path::{FolderPath, SecretPath};
pub use settings::Settings;
pub use versions::{Fate, Which};
pub use write::{Content, Write, WriteResult};
