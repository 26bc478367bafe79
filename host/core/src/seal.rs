//! The seal: how the keys of a cluster come to be, and how shares make them reachable again.
//!
//! [`record`] is the part of the key hierarchy in the store, [`init`] makes it, [`marker`] says which cluster
//! a store belongs to.

pub mod init;
pub mod marker;
pub mod record;

pub use init::{InitError, Initialised, ShareCounts, initialise};
pub use record::{NextKeys, SealRecord, SealRecordError, Unlocked};
