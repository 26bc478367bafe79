//! Keyway's default backend: one SQLite file in WAL mode, synced at every commit.
//!
//! One thread writes, in groups; reads go to connections of their own and never wait for it. [`config`] is what an
//! operator may set, [`backend`] the SDK's trait, and [`client`] an open database with its threads.
//!
//! - What writes: calls wait in [`queue`], [`writer`] gathers them into one transaction, [`write`] is such a transaction,
//!   [`upkeep`] removes what is nobody's any more.
//! - What reads: [`readers`]; [`transaction`] and [`backup`] read from a snapshot.
//! - [`restore`], [`upgrade`], [`health`].
//! - The files: [`opener`] keeps a second opener out, [`pairing`] refuses those that do not belong together by the marks of
//!   [`lineage`], [`files`] makes and watches them, [`connect`] opens connections,
//!   [`checkpointer`] copies the WAL into the database.
//! - [`sql`] has every statement, [`error`] SQLite's codes in the interface's words.

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
