//! A chaos layer: a backend around the library of another one, which does what it is asked, or what a file asks for instead.
//!
//! ```toml
//! [backends.main]
//! plugin = "chaos"
//! config = { library = "/usr/lib/keyway/plugins/libkeyway_sqlite.so", config = { path = "k.db" }, faults = "/tmp/faults.json" }
//! ```
//!
//! The file is read at each call, so that a test can change what goes wrong while a server runs; it holds a list of
//! [`Rule`](faults::Rule)s: `[{"calls": ["get"], "does": {"delay_ms": 200}}]`. Without the file nothing goes wrong.
//!
//! [`faults`] is what can go wrong, [`backend`] the operations, [`streams`] and [`transaction`] what they hand out.

mod backend;
mod faults;
mod streams;
mod transaction;

keyway_sdk::export_backend!(backend::Chaos);
