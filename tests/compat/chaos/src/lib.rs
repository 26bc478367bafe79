//! A chaos layer: a backend over the library of another one. It passes each call on, or applies a fault from
//! a file instead.
//!
//! ```toml
//! [backends.main]
//! plugin = "chaos"
//! config = { library = "/usr/lib/keyway/plugins/libkeyway_sqlite.so", config = { path = "k.db" }, faults = "/tmp/faults.json" }
//! ```
//!
//! The file is read at each call, so that a test can change what goes wrong while a server runs; it holds a
//! list of [`Rule`](faults::Rule)s: `[{"calls": ["get"], "does": {"delay_ms": 200}}]`. Without the file
//! nothing goes wrong.
//!
//! [`faults`] defines the faults, [`backend`] has the operations, and [`streams`] and [`transaction`] the
//! objects that they return.

mod backend;
mod faults;
mod pages;
mod streams;
mod transaction;

keyway_sdk::export_backend!(backend::Chaos);
