//! Write a storage backend for Keyway, in five steps.
//!
//! 1. **Choose a trait.** A store that answers at once or has an asynchronous client implements [`Backend`]. A store
//!    that blocks (files, an embedded database, a synchronous client) implements [`BlockingBackend`], and is exported
//!    as [`Blocking<Store>`](Blocking): the SDK runs its methods on threads of the backend. **Nothing in a call or a
//!    poll may block**, because the thread is the host's.
//! 2. **Describe it** with a [`PluginInfo`], and declare in its [`Capabilities`] what your store keeps, not more.
//!    Begin with [`Capabilities::LEAST`].
//! 3. **Write the operations.** [`paging::scan_with`] pages through an iterator, [`codec`] puts keyspaces and versions
//!    into a plain key-value store, [`versions`] numbers writes, [`backend::check_condition`] judges conditions,
//!    [`owned`] keeps requests for later, and [`group`] lets many writes share one sync.
//! 4. **Export it** from a `cdylib` crate with [`export_backend!`].
//! 5. **Prove it**: the conformance suite tests every promise that you declare.
//!
//! The SDK crosses the FFI boundary, contains panics in calls, polls and drops, enforces the limits and capabilities
//! that you declare, authenticates cursors, keeps transactions to one call at a time, and forwards `tracing` events to
//! the host's log.
//!
//! # A complete backend
//!
//! ```
//! use std::{collections::BTreeMap, ops::Bound, sync::{Arc, Mutex, MutexGuard, PoisonError}};
//! use keyway_sdk::{
//!     Backend, Bytes, CallContext, Capabilities, Delete, DropKeyspace, Features, Health, Key, OpenContext, Page, PluginInfo,
//!     Put, ReadConsistency, Record, Reply, Result, ScanOrder, Version, backend::check_condition, paging::{ScanPlan, scan_with},
//!     schemars::{self, JsonSchema}, serde::{self, Deserialize}, versions::Versions,
//! };
//!
//! /// What an operator may set: nothing.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(crate = "serde", deny_unknown_fields)]
//! #[schemars(crate = "schemars")]
//! pub struct Config {}
//!
//! /// The keys of one keyspace, with their records. It stays when its last key goes.
//! type Keyspace = BTreeMap<Vec<u8>, (Bytes, Version)>;
//!
//! pub struct Example { keyspaces: Mutex<BTreeMap<String, Keyspace>>, versions: Versions }
//!
//! impl Example {
//!     // Held for some microseconds, and never while something waits.
//!     fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Keyspace>> {
//!         self.keyspaces.lock().unwrap_or_else(PoisonError::into_inner)
//!     }
//!
//!     fn put_now(&self, put: Put<'_>) -> Result<Version> {
//!         let mut keyspaces = self.lock();
//!         let keys = keyspaces.entry(put.key().keyspace().to_owned()).or_default();
//!         check_condition(put.condition(), keys.get(put.key().bytes()).map(|found| found.1))?;
//!         let version = self.versions.next();
//!         keys.insert(put.key().bytes().to_vec(), (Bytes::copy_from_slice(put.value()), version));
//!         Ok(version)
//!     }
//!
//!     fn delete_now(&self, delete: Delete<'_>) -> Result<bool> {
//!         let mut keyspaces = self.lock();
//!         let keys = keyspaces.get_mut(delete.key().keyspace());
//!         let current = keys.as_ref().and_then(|keys| keys.get(delete.key().bytes())).map(|found| found.1);
//!         check_condition(delete.condition(), current)?;
//!         Ok(keys.is_some_and(|keys| keys.remove(delete.key().bytes()).is_some()))
//!     }
//! }
//!
//! impl Backend for Example {
//!     type Config = Config;
//!     const PLUGIN: PluginInfo = PluginInfo {
//!         name: "example", version: "0.1.0", description: "keeps records in a map", licence: "MIT", homepage: "",
//!         // Usually `include_str!("../config.schema.json")`, tested by `keyway_sdk::check_config_schema`.
//!         config_schema: r#"{"type": "object", "additionalProperties": false}"#,
//!         capabilities: Capabilities {
//!             read_consistency: ReadConsistency::LINEARIZABLE, scan_order: ScanOrder::BYTEWISE,
//!             features: Features::INLINE_GET, ..Capabilities::LEAST
//!         },
//!         data_format: 1, extensions: &[],
//!     };
//!
//!     fn open(_config: Config, _context: OpenContext) -> Reply<Self> {
//!         let versions = Versions::new_incarnation();
//!         Reply::ready(versions.map(|versions| Self { keyspaces: Mutex::default(), versions }))
//!     }
//!
//!     fn get(self: &Arc<Self>, _call: &CallContext<'_>, key: Key<'_>) -> Reply<Option<Record>> {
//!         let keyspaces = self.lock();
//!         let found = keyspaces.get(key.keyspace()).and_then(|keys| keys.get(key.bytes()));
//!         Reply::ready(Ok(found.map(|(value, version)| Record::new(value.clone(), *version))))
//!     }
//!
//!     fn put(self: &Arc<Self>, _call: &CallContext<'_>, put: Put<'_>) -> Reply<Version> { self.put_now(put).into() }
//!
//!     fn delete(self: &Arc<Self>, _call: &CallContext<'_>, delete: Delete<'_>) -> Reply<bool> {
//!         self.delete_now(delete).into()
//!     }
//!
//!     fn scan(self: &Arc<Self>, _call: &CallContext<'_>, plan: ScanPlan<'_>) -> Reply<Page> {
//!         let keyspaces = self.lock();
//!         let empty = Keyspace::new();
//!         let keys = keyspaces.get(plan.keyspace()).unwrap_or(&empty);
//!         Reply::ready(scan_with(plan, |plan| {
//!             let lower = Bound::Included(plan.lower().to_vec());
//!             let upper = plan.upper().map_or(Bound::Unbounded, |upper| Bound::Excluded(upper.to_vec()));
//!             Ok(keys.range((lower, upper)).map(|(key, (value, version))| Ok((key, Record::new(value.clone(), *version)))))
//!         }))
//!     }
//!
//!     fn keyspaces(self: &Arc<Self>, _call: &CallContext<'_>, after: &str) -> Reply<Vec<String>> {
//!         let after = (Bound::Excluded(after.to_owned()), Bound::Unbounded);
//!         Reply::ready(Ok(self.lock().range(after).take(1_000).map(|(name, _)| name.clone()).collect()))
//!     }
//!
//!     fn drop_keyspace(self: &Arc<Self>, _call: &CallContext<'_>, drop: DropKeyspace<'_>) -> Reply<bool> {
//!         Reply::ready(Ok(self.lock().remove(drop.name()).is_some()))
//!     }
//!
//!     fn health(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Health> { Reply::ready(Ok(Health::ok(0))) }
//! }
//!
//! // In a `cdylib` crate, this line makes it a plugin:
//! keyway_sdk::export_backend!(Example);
//!
//! // In a test, this puts it through the conformance suite without a shared library. It keeps every promise that can
//! // be tested within one process; `keyway_conformance::main` tests them all.
//! let plugin = keyway_loader::Plugin::linked(keyway_sdk::linked::<Example>()).unwrap();
//! let example = keyway_conformance::Subject::new(plugin, serde_json::json!({}));
//! let report = keyway_conformance::run_here(&example, &keyway_conformance::Options::default()).unwrap();
//! assert!(report.broken().next().is_none(), "{report}");
//! ```
//!
//! Map: [`backend`] and [`blocking`] have the traits, [`reply`] the answers, [`open`] the context of an opening and its
//! threads, [`plugin`] the facts about a library. Helpers: [`paging`], [`codec`], [`versions`], [`owned`], [`group`].
//!
//! The feature `tokio` gives a backend a tokio runtime, in which the SDK polls its futures
//! (`Backend::RUNTIME_THREADS`).

pub mod backend;
pub mod blocking;
pub mod codec;
pub mod group;
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
mod offload;
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
