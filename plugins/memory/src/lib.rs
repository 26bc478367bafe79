//! A backend in memory, for tests and for trying things out: ordered keys, serializable transactions, expiry,
//! backup. Its data is gone when it closes.
//!
//! [`config`] is what an operator may set, [`client`] the ordered map, [`backend`] the SDK's trait over it,
//! [`transaction`] optimistic transactions, [`streams`] backup and restore.

pub mod backend;
pub mod client;
pub mod config;

mod error;
mod state;
mod streams;
mod transaction;

pub use backend::Memory;
pub use config::Config;
