//! The `keyway` program: [`cli`] is its command line.

pub mod cli;
