//! What Keyway's programs share on the command line.
//!
//! [`output`] prints results for people and for programs, [`Failure`] has the exit codes, [`files`] reads
//! plugin files and writes files whole.

mod failure;
pub mod files;
pub mod output;

pub use failure::Failure;
