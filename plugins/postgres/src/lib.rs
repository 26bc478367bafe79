//! Keyway's backend for many hosts: one schema of a PostgreSQL database.
//!
//! [`config`] has the operator's settings, [`backend`] is the SDK's trait, and [`client`] an open database
//! with its connections.
//!
//! - Connections: [`target`] says which server and which TLS, [`login`] reads the login again after a
//!   refusal, [`connect`] makes connections, [`pooler`] recognises a pooler that does not work, [`lanes`]
//!   share connections among point reads, [`session`] is a connection for one call, and cleans up after a
//!   caller that went away.
//! - Work on them: [`ops`] has single operations and batches, [`write`] joins the writes of several calls in
//!   one statement, [`scan`] reads pages; then [`transaction`], [`backup`], [`restore`], [`upkeep`],
//!   [`health`] and [`extension`]. [`rows`] turns the server's answers into the interface's types.
//! - [`sql`] has every statement and the schema, [`error`] maps PostgreSQL's codes to the interface's errors.

pub mod backend;
pub mod config;

mod backup;
mod client;
mod connect;
mod error;
mod extension;
mod health;
mod lanes;
mod login;
mod ops;
mod pooler;
mod queue;
mod restore;
mod rows;
mod scan;
mod session;
mod sql;
mod target;
mod transaction;
mod upkeep;
mod write;

pub use backend::Postgres;
pub use config::Config;
