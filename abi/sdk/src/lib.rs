//! Write a storage backend for Keyway.
//!
//! Implement [`Backend`] for your type, describe it with a [`PluginInfo`], and export it from a `cdylib` crate with
//! [`export_backend!`]. The SDK does the rest: it crosses the FFI boundary, contains panics in calls, polls and
//! drops, enforces the limits and capabilities that you declare, authenticates cursors, keeps transactions to one
//! call at a time, and forwards `tracing` events to the host's log.
//!
//! A backend answers with a [`Reply`]: [`Reply::ready`] where it is done at once (at most 50 µs at the 99th
//! percentile, and never behind a lock wait, an fsync or the network), [`Reply::pending`] otherwise.
//!
//! Map: [`backend`] is the trait, [`reply`] its answers, [`paging`] the common part of every ordered scan,
//! [`plugin`] what a library says about itself, [`open`] what a backend gets when it is opened.

pub mod backend;
pub mod open;
pub mod paging;
pub mod plugin;
pub mod reply;

mod bridge;
mod cursor;
mod export;
mod forward;
mod state;

pub use backend::{Backend, BackupStream, RestoreSink, Transaction};
pub use bytes::Bytes;
pub use keyway_abi::{
    AbiBytes, BackupChunk, BackupLevel, BackupPull, BackupRecord, Batch, BatchMode, BatchResult, Begin,
    CallContext, Capabilities, Committed, CommittedKey, Condition, Delete, Durability, Entry, Error,
    ErrorCode, Features, Health, Isolation, Key, Limits, MetricKind, Op, OpKind, OpResult, Outcome, Page,
    Put, ReadConsistency, Record, Records, RestoreMode, RestoreRecord, Scan, ScanOrder, Sharing, Version,
    WriteId,
};
pub use open::OpenContext;
pub use plugin::PluginInfo;
pub use reply::Reply;
pub use schemars;
pub use serde;

/// What an operation of a backend results in.
pub type Result<T> = std::result::Result<T, Error>;

/// A backend linked into the same binary, for tests: the same bridge without a shared library.
pub fn linked<B: Backend>() -> keyway_abi::StorageBackendRef {
    export::linked_root::<B>()
}

/// The JSON Schema of a configuration, as it stands in [`PluginInfo::config_schema`]: a backend keeps it in a file
/// and tests that the file is up to date.
pub fn config_schema<C: schemars::JsonSchema>() -> String {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(C)).unwrap_or_default();
    text.push('\n');
    text
}

/// For [`export_backend!`] only.
#[doc(hidden)]
pub mod __private {
    pub use abi_stable::{library::RootModuleResult, std_types::RStr};
    pub use keyway_abi::{
        RootModuleExport, StorageBackendRef,
        root::{construct_root_module, root_module_export},
    };

    pub use crate::{export::exported_root, plugin::Rendered};
}
