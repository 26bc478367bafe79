//! Keyway against a real OpenBao: the same requests go to both, and every difference between the answers is
//! on the list of intended ones (`differences.toml`), or fails.
//!
//! - [`tables`]: sequences of requests, written by hand, in `tables/*.txt`.
//! - [`agent`]: `bao agent` and `bao proxy`.
//! - [`commands`]: the `bao` command line.
//! - [`fields`]: each field of OpenBao's OpenAPI document, at each route that both know.
//! - [`policies`]: random policies, decided by both.
//! - [`sequences`]: generated sequences of requests, shrunk to the shortest difference.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what it skips, and fails by panicking"
)]

mod agent;
mod bao;
mod commands;
mod compare;
mod differences;
mod document;
mod fields;
mod names;
mod pair;
mod policies;
mod request;
mod run;
mod seed;
mod sequences;
mod table;
mod tables;
