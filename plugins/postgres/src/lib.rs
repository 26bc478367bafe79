//! Keyway's backend for many hosts: one schema of a PostgreSQL database.
//!
//! [`config`] is what an operator may set, [`backend`] the SDK's trait, and [`client`] an open database with its connections.
//!
//! - Connections: [`target`] is where and with which TLS, [`login`] reads it again after a refusal, [`connect`] makes them,
//!   [`pooler`] recognises one that cannot stand between, [`lanes`] share some among point reads,
//!   [`session`] is one for a call alone and what becomes of it when nobody waits any more.
//! - What is done on them: [`ops`] single operations and batches, [`write`] several calls' in a statement, [`scan`] pages, [`transaction`], [`backup`], [`restore`],
//!   [`upkeep`], [`health`], [`extension`]. [`rows`] is what the server answers, in the interface's types.
//! - [`sql`] has every statement and the schema, [`error`] PostgreSQL's codes in the interface's words.

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
