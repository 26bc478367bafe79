//! Backends with one defect each: what the conformance suite is tested with.
//!
//! A [`Mutant`] is a sound backend with one [`Defect`] put between it and the SDK, chosen by its
//! configuration: `{"defect": "folds_case", "base": {}}`. [`backend`] has the single operations, [`mutant`]
//! what the parts share, [`writes`], [`batches`], [`pages`], [`streams`] and [`transactions`] the rest. What
//! the SDK would catch before a backend can get it wrong is broken beneath it, in `raw/`.

mod backend;
mod batches;
mod defect;
mod mutant;
mod pages;
mod streams;
mod transactions;
mod writes;

pub use defect::Defect;
pub use mutant::{Config, Mutant};
