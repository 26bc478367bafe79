//! Swaps of a running server's backends, with the real libraries: under load, with versions that do not work,
//! with the server killed in the middle, and at restarts.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "for tests, which fail by panicking; indexing JSON answers null"
)]

mod flaws;
mod formats;
mod kills;
mod load;
mod reload;
mod restarts;
