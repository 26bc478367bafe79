//! Keyway's default backend: one SQLite file in WAL mode, synced at every commit.
//!
//! One thread writes; reads go to connections of their own and never wait for it. [`config`] is what an operator may
//! set, [`backend`] the SDK's trait, [`client`] the threads and connections, [`write`] what waits to be
//! written, [`transaction`] transactions, [`sql`] every
//! statement, [`opener`] the files and the lock that keeps a second opener out, [`error`] SQLite's codes in the
//! interface's words.

pub mod backend;
pub mod config;

mod client;
mod error;
mod opener;
mod sql;
mod transaction;
mod write;

pub use backend::Sqlite;
pub use config::Config;
