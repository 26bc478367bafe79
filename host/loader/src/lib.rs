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
//! 6. (probing in a child process comes between trust and open);
//! 7. [`open`]: the one place that maps foreign code;
//! 8. [`configure`]: configuration checked against the library's schema, store opened, health asked;
//! 9. [`register`]: generations of open backends.
//!
//! [`loader`] runs the stages; [`store`] is the plain trait that an open backend is seen through, [`adapter`] its
//! implementation over the interface. None of the types of the layer beneath appear in it.
//!
//! A plugin in the process *is* the process: it can read all memory, keys and plaintext included. The trust stage
//! decides who may be one; no later stage can.

pub mod check;
pub mod configure;
pub mod describe;
pub mod discover;
pub mod open;
pub mod register;
pub mod stage;
pub mod trust;

pub mod loader;

pub mod reply;
pub mod report;
pub mod store;

mod adapter;

pub use configure::{BackendConfig, ConfigureError};
pub use describe::Descriptor;
pub use discover::{Origin, SearchPath};
pub use keyway_abi::{
    AbiBytes, BackupChunk, BackupLevel, BackupPull, BackupRecord, Batch, BatchMode, BatchResult, Begin,
    CallContext, Capabilities, Committed, CommittedKey, Condition, Delete, DropKeyspace, Durability, Entry,
    Error, ErrorCode, Features, Health, Isolation, Key, Limits, Op, OpKind, OpResult, Outcome, Page, Put,
    ReadConsistency, Record, Records, RestoreMode, RestoreRecord, Scan, ScanOrder, Sharing, Version, WriteId,
};
pub use loader::{LoadError, Loader, Requirement};
pub use open::Plugin;
pub use register::{Backends, Generation};
pub use reply::Reply;
pub use report::Chain;
pub use stage::Digest;
pub use store::{BackupStream, RestoreSink, Store, Transaction};
pub use trust::{LockFile, LockedPlugin, TrustPolicy};

/// The interface version that this loader was built with.
pub const INTERFACE_VERSION: &str = keyway_abi::INTERFACE_VERSION;
