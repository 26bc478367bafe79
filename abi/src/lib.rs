//! The interface between Keyway's host and its storage backends, version 1.0.
//!
//! Everything here has a layout that two separately compiled binaries agree on. Backend authors use it
//! through `keyway-sdk`, embedders through `keyway-loader`. Neither sees a type of the layer beneath: a field
//! that has one is private, and its accessor speaks plain Rust. Fields of numbers and of this crate's own
//! types are public (`Limits`, `Capabilities`, `Begin`, `BackupPull`). What only the SDK and the loader meet
//! (`root`, `services`) shows the layer beneath.
//!
//! Version 1.0 is frozen: its layout, in `tests/layout-1.0.snap`, never changes. How the interface may grow within
//! major version 1:
//! - plain structs are frozen; new data travels in the `flags` and `extension` of [`Request`], [`Answer`],
//!   [`CallContext`] and [`Error`];
//! - [`StorageBackend`], [`HostServices`] and the object traits only grow at their end, with defaults;
//! - codes, levels and capability bits are integers, so that an unknown one is a value and not undefined
//!   behaviour.
//!
//! Map, in the order in which a call meets it: [`root`] (a library's export), [`services`] (the host's
//! services for a backend), [`store`], [`transaction`] and [`backup`] (the objects), [`call`] (the data of
//! every call), [`key`], [`record`], [`batch`], [`scan`], [`capability`], [`health`] (the data), [`error`],
//! [`bytes`], [`version`].

pub mod root;
pub mod services;

pub mod backup;
pub mod store;
pub mod transaction;

pub mod call;

pub mod batch;
pub mod capability;
pub mod health;
pub mod key;
pub mod record;
pub mod scan;

pub mod bytes;
pub mod error;
mod flags;
pub mod version;

pub use backup::{
    BackupChunk, BackupObject, BackupPull, BackupRecord, RestoreMode, RestoreObject, RestoreRecord,
};
pub use batch::{Batch, BatchMode, BatchResult, Op, OpKind, OpResult};
pub use bytes::AbiBytes;
pub use call::{Answer, CallContext, ForeignReply, Request};
pub use capability::{
    BackupLevel, Capabilities, Durability, Features, Isolation, Limits, ReadConsistency, ScanOrder, Sharing,
};
pub use error::{Error, ErrorCode, Outcome};
pub use flags::UNDERSTOOD_FLAGS;
pub use health::Health;
pub use key::{DropKeyspace, Key};
pub use record::{Condition, Delete, Put, Record, Records};
pub use root::{OpenArgs, RootModuleExport, StorageBackend, StorageBackendRef};
pub use scan::{Entry, Page, Scan};
pub use services::{HostServices, HostServicesRef, LogEvent, LogLevel, MetricKind, MetricSample};
pub use store::StoreObject;
pub use transaction::{Begin, Committed, CommittedKey, TransactionObject};
pub use version::{Version, WriteId};

/// The version of this interface, which a library's descriptor names and a loader compares.
pub const INTERFACE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The symbol under which a library exports its root module. The major version is part of it: another major is
/// another crate and another symbol.
pub const EXPORT_SYMBOL: &str = "keyway_storage_backend_v1";
