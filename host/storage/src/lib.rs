//! The calls of backends.
//!
//! [`Storage`] is one backend as the rest of the host uses it: each call has a deadline, a limit and a circuit breaker (`guard`,
//! [`breaker`]), belongs to a [`unit`] of work, and fails with the backend's name. [`ahead`] reads several records in one call,
//! `settle` finds out what became of a write whose outcome is unknown. [`lease`] and [`epoch`] are for hosts that share a store.

pub mod ahead;
pub mod breaker;
pub mod epoch;
mod error;
mod guard;
pub mod lease;
mod lifecycle;
mod metrics;
mod read;
mod request;
mod settle;
mod storage;
mod tally;
pub mod unit;
mod write;

pub use self::{
    error::StorageError,
    guard::CallLimits,
    metrics::{BackendMetrics, CallMetrics},
    read::Keys,
    request::RequestId,
    settle::Beside,
    storage::Storage,
    tally::Tallied,
};

/// The keyspace of the system's own records.
pub const SYSTEM_KEYSPACE: &str = "keyway-system";
