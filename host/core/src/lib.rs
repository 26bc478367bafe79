//! What Keyway is between its API and its stores.
//!
//! [`Core`] is the server: its seal, its backends, and its background tasks. [`secrets`] is the secrets
//! engine (versions, check-and-set); [`mounts`] says which engine serves a path. [`token`], [`approle`] and
//! [`policy`] decide about access, [`cubbyhole`] keeps the values of one token, [`audit`] records requests
//! and responses. All of them keep their records through [`system`]. The [`barrier`] seals these, and the
//! [`seal`] protects its keys.

mod core;

pub mod approle;
pub mod audit;
pub mod barrier;
pub mod cubbyhole;
pub mod mounts;
pub mod policy;
pub mod seal;
pub mod secrets;
pub mod system;
pub mod token;

pub use self::core::*;
