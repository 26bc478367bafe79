//! Finds, verifies, loads and opens storage backends: shared libraries that speak the interface of `keyway-abi`.
//!
//! Nothing in here is Keyway's server: embed it in any program. The stages of a load are modules, in this order, and
//! each has an error of its own:
//!
//! 1. [`discover`]: which library files are there;
//! 2. [`stage`]: one private copy, hashed while it is copied; everything after reads that copy alone;
//! 3. [`describe`]: what the library says about itself, read without running it;
//! 4. [`check`]: is it made for this platform and this interface;
//! 5. [`trust`]: may it run here;
//! 6. [`probe`]: loaded in a child process, where a crash harms nobody;
//! 7. [`open`]: the one place that maps foreign code;
//! 8. [`configure`]: configuration checked against the library's schema, store opened, health asked;
//! 9. [`register`]: generations of open backends.
//!
//! [`loader`] runs the stages, [`connect`] falls back where a plugin cannot be used, [`history`] remembers what happened to
//! which library; [`store`] is the plain trait that an open backend is seen through, [`adapter`] its
//! implementation over the interface. None of the types of the layer beneath appear in it.
//!
//! A plugin in the process *is* the process: it can read all memory, keys and plaintext included. The trust stage
//! decides who may be one; no later stage can.

pub mod check;
pub mod configure;
pub mod describe;
pub mod discover;
pub mod open;
pub mod probe;
pub mod register;
pub mod stage;
pub mod trust;

pub mod connect;
pub mod history;
pub mod loader;

pub mod reply;
pub mod report;
pub mod store;

mod adapter;

pub use configure::{BackendConfig, ConfigureError};
pub use connect::{ConnectError, Wanted};
pub use describe::Descriptor;
pub use discover::{Origin, SearchPath};
pub use history::History;
pub use keyway_abi::{
    AbiBytes, BackupChunk, BackupLevel, BackupPull, BackupRecord, Batch, BatchMode, BatchResult, Begin,
    CallContext, Capabilities, Committed, CommittedKey, Condition, Delete, DropKeyspace, Durability, Entry,
    Error, ErrorCode, Features, Health, Isolation, Key, Limits, Op, OpKind, OpResult, Outcome, Page, Put,
    ReadConsistency, Record, Records, RestoreMode, RestoreRecord, Scan, ScanOrder, Sharing, Version, WriteId,
};
pub use loader::{LoadError, Loader, Requirement};
pub use open::Plugin;
pub use probe::Prober;
pub use register::{Backends, Down, Generation, Slot};
pub use reply::Reply;
pub use report::{Chain, Fix};
pub use stage::Digest;
pub use store::{BackupStream, RestoreSink, Store, Transaction};
pub use trust::{Grant, LockFile, LockedPlugin, Policy, Trust, TrustedKey};

/// The interface version that this loader was built with.
pub const INTERFACE_VERSION: &str = keyway_abi::INTERFACE_VERSION;
