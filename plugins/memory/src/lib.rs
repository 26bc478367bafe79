//! A backend in memory, for tests and for trying things out: ordered keys, serializable transactions, expiry,
//! backup. Its data is gone when it closes.
//!
//! [`config`] has the operator's settings, [`client`] the ordered map, [`backend`] the SDK's trait over it,
//! [`transaction`] optimistic transactions, [`backup`] and [`restore`] the streams.

pub mod backend;
pub mod client;
pub mod config;

mod backup;
mod error;
mod restore;
mod state;
mod transaction;

pub use backend::Memory;
pub use config::Config;
