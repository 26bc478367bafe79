//! The calls of backends.
//!
//! [`Storage`] is one backend as the rest of the host uses it: each call has a deadline, a limit and a
//! circuit breaker (`guard`, [`breaker`]), belongs to a [`Work`], and fails with the backend's name.
//! [`prefetch`] reads several records in one call, `settle` finds out what became of a write whose outcome is
//! unknown. [`lease`] and [`epoch`] are for hosts that share a store.

pub mod breaker;
pub mod epoch;
mod error;
mod guard;
pub mod lease;
mod lifecycle;
mod metrics;
mod operation;
pub mod prefetch;
mod read;
mod settle;
mod storage;
mod tally;
mod work;
mod write;

pub use self::{
    error::StorageError,
    guard::CallLimits,
    metrics::{BackendMetrics, CallMetrics},
    read::Keys,
    settle::Companion,
    storage::Storage,
    tally::Tallied,
    work::{BACKGROUND, Work},
};

/// The keyspace of the system's own records.
pub const SYSTEM_KEYSPACE: &str = "keyway-system";
