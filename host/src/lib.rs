//! Keyway: a secrets server whose storage is a shared library.
//!
//! A request on its way down: [`http`] (routes, Vault's shapes, status codes) → [`core`] (sealed or not, who may) →
//! [`secrets`] (versions, check-and-set) → [`barrier`] (keys, and how often they
//! are used) → `keyway-crypto` (the envelope) → [`storage`] (deadline, limits, circuit breaker) → `keyway-loader`'s `Store` →
//! the plugin. Beside it: [`seal`] (shares and keys), [`mounts`], [`token`]; [`epoch`] and [`lease`] are for hosts that share a store; [`config`] and [`server`] put them together;
//! [`cli`] is the command line, [`clock`] the time,
//! [`json`] what the JSON libraries leave open, [`log`] where lines of the log go, [`metrics`] what is measured, [`offload`] keeps long steps off the
//! runtime's threads.

pub mod cli;
pub mod config;
pub mod server;

pub mod http;

pub mod approle;
pub mod audit;
pub mod barrier;
pub mod core;
pub mod cubbyhole;
pub mod mounts;
pub mod policy;
pub mod seal;
pub mod secrets;
pub mod system;
pub mod token;

pub mod log;
