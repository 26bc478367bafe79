//! A storage backend for Keyway around a C library: LMDB, a B+ tree in a memory-mapped file.
//!
//! Four files, from the C library to the interface:
//!
//! - `environment.rs` makes safe Rust of the C functions. All unsafe code is there.
//! - `layout.rs` says which bytes stand for which record.
//! - `writer.rs` makes changes: one transaction of LMDB for all writes that wait.
//! - `store.rs` is the backend.

mod environment;
mod layout;
mod store;
mod writer;

pub use store::{Config, Store};

/// What the shared library exports.
pub type Exported = keyway_sdk::Blocking<Store>;

keyway_sdk::export_backend!(Exported);
