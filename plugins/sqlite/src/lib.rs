//! Keyway's default backend: one SQLite file in WAL mode, synced at every commit.
//!
//! One thread writes, in groups; reads use other connections and never wait for it. [`config`] has the
//! operator's settings, [`backend`] is the SDK's trait, and [`client`] an open database with its threads.
//!
//! - Writes: calls wait in [`queue`], [`writer`] gathers them into one transaction, [`write`] is such a
//!   transaction, [`upkeep`] removes expired records and those of dropped keyspaces.
//! - Reads: [`readers`]; [`transaction`] and [`backup`] read from a snapshot.
//! - [`restore`], [`upgrade`], [`health`].
//! - Files: [`opener`] keeps a second opener out, [`pairing`] refuses files that do not belong together by
//!   the marks of [`lineage`], [`files`] makes and watches them, [`connect`] opens connections,
//!   [`checkpointer`] copies the WAL into the database.
//! - [`sql`] has every statement, [`error`] maps SQLite's codes to the interface's errors.

pub mod backend;
pub mod config;

mod backup;
mod checkpointer;
mod client;
mod connect;
mod error;
mod failure;
mod files;
mod health;
mod lineage;
mod opener;
mod pairing;
mod queue;
mod readers;
mod restore;
mod shared;
mod sql;
mod transaction;
mod upgrade;
mod upkeep;
mod write;
mod writer;

pub use backend::Sqlite;
pub use config::Config;
