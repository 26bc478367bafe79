//! The engine over a backend that fails, forgets, and crashes when a test tells it to.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::large_futures, reason = "a test has one of each")]

mod chaos;
mod crashes;
mod fixtures;
mod generations;
mod hosts;
mod keys;
mod leases;
mod mounts;
mod outcomes;
mod reencrypt;
mod rekey;
mod site;
mod swaps;
mod tampering;
mod unavailable;
mod versioning;
