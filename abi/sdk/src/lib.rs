//! Write a storage backend for Keyway.
//!
//! Implement [`Backend`] for your type, describe it with a [`PluginInfo`], and export it from a `cdylib`
//! crate with [`export_backend!`]. The SDK does the rest: it crosses the FFI boundary, contains panics in
//! calls, polls and drops, enforces the limits and capabilities that you declare, authenticates cursors,
//! keeps transactions to one call at a time, and forwards `tracing` events to the host's log.
//!
//! A backend answers with a [`Reply`]. Use [`Reply::ready`] if the answer is there at once: at most 50 µs at
//! the 99th percentile, and never after a lock wait, an fsync or network traffic. Otherwise use
//! [`Reply::pending`].
//!
//! # A complete backend
//!
//! ```
//! use std::{collections::BTreeMap, sync::{Arc, Mutex, PoisonError}};
//! use keyway_sdk::{
//!     AbiBytes, Backend, Bytes, CallContext, Capabilities, Delete, DropKeyspace, Health, Key, OpenContext, Page, PluginInfo, Put,
//!     Record, Reply, ScanOrder, Version, backend::check_condition, paging::{Pager, ScanPlan, Step},
//!     schemars::{self, JsonSchema}, serde::{self, Deserialize},
//! };
//!
//! /// What an operator may set: nothing.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(crate = "serde", deny_unknown_fields)]
//! #[schemars(crate = "schemars")]
//! pub struct Config {}
//!
//! type Records = BTreeMap<(String, Vec<u8>), (Bytes, Version)>;
//!
//! #[derive(Default)]
//! pub struct Example { state: Mutex<(Records, u64)> }
//!
//! impl Backend for Example {
//!     type Config = Config;
//!     const PLUGIN: PluginInfo = PluginInfo {
//!         name: "example", version: "0.1.0", description: "keeps records in a map", licence: "MIT", homepage: "",
//!         // Usually `include_str!("../config.schema.json")`, tested by `keyway_sdk::check_config_schema`.
//!         config_schema: r#"{"type": "object", "additionalProperties": false}"#,
//!         capabilities: Capabilities { scan_order: ScanOrder::BYTEWISE, ..Capabilities::LEAST },
//!         data_format: 1, extensions: &[],
//!     };
//!
//!     fn open(_config: Config, _context: OpenContext) -> Reply<Self> { Reply::ready(Ok(Self::default())) }
//!
//!     fn get(self: &Arc<Self>, _call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
//!         let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
//!         let found = state.0.get(&(key.keyspace().to_owned(), key.bytes().to_vec()));
//!         Reply::ready(Ok(found.map(|(value, version)| Record::new(value.clone(), *version))))
//!     }
//!
//!     fn put(self: &Arc<Self>, _call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> {
//!         let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
//!         let place = (put.key().keyspace().to_owned(), put.key().bytes().to_vec());
//!         if let Err(error) = check_condition(put.condition(), state.0.get(&place).map(|found| found.1)) {
//!             return Reply::ready(Err(error));
//!         }
//!         state.1 += 1;
//!         let version = Version::numbered(0, state.1);
//!         state.0.insert(place, (Bytes::copy_from_slice(put.value()), version));
//!         Reply::ready(Ok(version))
//!     }
//!
//!     fn delete(self: &Arc<Self>, _call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
//!         let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
//!         let place = (delete.key().keyspace().to_owned(), delete.key().bytes().to_vec());
//!         let checked = check_condition(delete.condition(), state.0.get(&place).map(|found| found.1));
//!         Reply::ready(checked.map(|()| state.0.remove(&place).is_some()))
//!     }
//!
//!     fn scan(self: &Arc<Self>, _call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
//!         let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
//!         let keyspace = plan.keyspace().to_owned();
//!         let mut pager = Pager::new(plan);
//!         for ((name, key), (value, version)) in &state.0 {
//!             // A real store seeks to `lower`, and again after `Step::Seek`; this one passes over the rest.
//!             let plan = pager.plan();
//!             let inside = key.as_slice() >= plan.lower() && plan.upper().is_none_or(|upper| key.as_slice() < upper);
//!             let record = || (AbiBytes::copy_from_slice(key), Record::new(value.clone(), *version));
//!             if *name == keyspace && inside && pager.offer(key, value.len(), record) == Step::Done {
//!                 break;
//!             }
//!         }
//!         Reply::ready(Ok(pager.finish()))
//!     }
//!
//!     fn keyspaces(self: &Arc<Self>, _call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
//!         let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
//!         let mut names: Vec<String> = state.0.keys().map(|(name, _)| name.clone()).collect();
//!         names.dedup();
//!         names.retain(|name| name.as_str() > after);
//!         names.truncate(1_000);
//!         Reply::ready(Ok(names))
//!     }
//!
//!     fn drop_keyspace(self: &Arc<Self>, _call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
//!         let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
//!         let before = state.0.len();
//!         state.0.retain(|(name, _), _| name != drop.name());
//!         Reply::ready(Ok(state.0.len() < before))
//!     }
//!
//!     fn health(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Health> { Reply::ready(Ok(Health::ok(0))) }
//! }
//!
//! // In a `cdylib` crate, this line makes it a plugin:
//! keyway_sdk::export_backend!(Example);
//!
//! // In a test, this puts it through the conformance suite without a shared library:
//! let plugin = keyway_loader::Plugin::linked(keyway_sdk::linked::<Example>()).unwrap();
//! let example = keyway_conformance::Subject::new(plugin, serde_json::json!({}));
//! let options = keyway_conformance::Options { only: vec!["put_".into(), "scan_".into()], ..Default::default() };
//! let report = keyway_conformance::run_here(&example, &options).unwrap();
//! assert!(report.broken().next().is_none(), "{report}");
//! ```
//!
//! Map: [`backend`] has the trait, [`reply`] its answers, [`paging`] the common part of every ordered scan,
//! [`plugin`] the facts about a library, and [`open`] the context of an opening.

pub mod backend;
pub mod blocking;
pub mod codec;
pub mod open;
pub mod owned;
pub mod paging;
pub mod plugin;
pub mod reply;
pub mod versions;

mod bridge;
mod cursor;
mod export;
mod forward;
mod linked;
mod pool;
mod rendered;
mod result;
mod schema;
mod state;

pub use backend::{Backend, BackupStream, RestoreSink, Transaction};
pub use blocking::{Blocking, BlockingBackend};
pub use bytes::Bytes;
pub use keyway_abi::{
    AbiBytes, BackupChunk, BackupLevel, BackupPull, BackupRecord, Batch, BatchMode, BatchResult, Begin,
    CallContext, Capabilities, Committed, CommittedKey, Condition, Delete, DropKeyspace, Durability, Entry,
    Error, ErrorCode, Features, Health, Isolation, Key, Limits, MetricKind, Op, OpKind, OpResult, Outcome,
    Page, Put, ReadConsistency, Record, Records, RestoreMode, RestoreRecord, Scan, ScanOrder, Sharing,
    Version, WriteId,
};
pub use linked::linked;
pub use open::OpenContext;
pub use plugin::PluginInfo;
pub use reply::Reply;
pub use result::Result;
pub use schema::{check_config_schema, config_schema};
pub use schemars;
pub use serde;

/// For [`export_backend!`] only.
#[doc(hidden)]
pub mod __private {
    pub use abi_stable::{library::RootModuleResult, std_types::RStr};
    pub use keyway_abi::{
        RootModuleExport, StorageBackendRef,
        root::{construct_root_module, root_module_export},
    };

    pub use crate::{
        export::exported_root,
        rendered::{Rendered, descriptor_bytes, descriptor_len},
    };
}
