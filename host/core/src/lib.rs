//! What Keyway is between its API and its stores.
//!
//! [`Core`] is the server: sealed or not, its backends, and what runs in the background. [`secrets`] is the secrets engine
//! (versions, check-and-set); [`mounts`] says which engine serves a path. [`token`], [`approle`] and [`policy`] say who may do
//! what, [`cubbyhole`] keeps what belongs to one token, [`audit`] records what was asked and answered. All of them keep their records
//! through [`system`], sealed by the [`barrier`], whose keys the [`seal`] makes reachable.

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
