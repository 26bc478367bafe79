//! What every crate of Keyway's host may use.
//!
//! [`clock`] tells the time, [`duration`] reads durations as Vault's clients write them, [`json`] handles
//! JSON texts without changing them, [`metrics`] is the registry of measurements, and [`offload`] runs long
//! steps outside the runtime's threads.

pub mod clock;
pub mod duration;
pub mod json;
pub mod metrics;
pub mod offload;
