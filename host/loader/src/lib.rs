//! Finds, verifies, loads and opens storage backends: shared libraries that speak the interface of `keyway-abi`.
//!
//! Nothing in here is Keyway's server: embed it in any program. `examples/embed.rs` is a whole server that keeps its
//! data in a backend. The stages of a load are modules, in this order, and each has its own error:
//!
//! 1. [`discover`]: which library files are there;
//! 2. [`stage`]: one private copy, hashed while it is copied; everything after reads that copy alone;
//! 3. [`describe`]: what the library says about itself, read without running it;
//! 4. [`check`]: is it made for this platform and this interface;
//! 5. [`trust`]: may it run here;
//! 6. [`probe`]: loaded in a child process, where a crash harms no host;
//! 7. [`open`]: the one place that maps foreign code;
//! 8. [`configure`]: configuration checked against the library's schema, store opened, health asked;
//! 9. [`register`]: generations of open backends.
//!
//! [`loader`] runs the stages, and [`connect`] falls back to another version if a plugin cannot be used.
//! [`history`] remembers what happened to which library. [`swap`] replaces a generation while it serves,
//! [`readback`] tries a store before it serves, and [`archive`] holds a store's records in a file. [`store`]
//! is an open backend: plain Rust, in which no type of the layer beneath appears.
//!
//! ```no_run
//! use keyway_loader::{
//!     BackendConfig, Generation, History, Loader, Origin, Prober, Requirement, SearchPath, Trust, Wanted, probe,
//! };
//!
//! # fn main() {}
//! /// Before `main` does anything else: this program is also the one that probes.
//! fn probe_if_asked() {
//!     let arguments: Vec<_> = std::env::args_os().skip(1).collect();
//!     if let Some((first, rest)) = arguments.split_first().filter(|(first, _)| *first == "probe-plugin") {
//!         std::process::exit(i32::from(probe::child::main(rest) != std::process::ExitCode::SUCCESS));
//!     }
//! }
//!
//! async fn open() -> Result<Generation, Box<dyn std::error::Error>> {
//!     let staging_dir = std::path::PathBuf::from("/var/lib/example/plugins"); // this user's alone
//!     let loader = Loader {
//!         search: vec![SearchPath { directory: "/usr/lib/example/plugins".into(), origin: Origin::Configuration }],
//!         trust: Trust::lock("/etc/example/keyway.lock".into()),
//!         libraries: Vec::new(),
//!         prober: Some(Prober::this_program(vec!["probe-plugin".into()])?),
//!         history: History::new(staging_dir.clone()),
//!         staging_dir,
//!         host: env!("CARGO_PKG_VERSION").to_owned(),
//!         most_images: 64,
//!     };
//!     loader.history.count_crashes(); // of this program's earlier lives
//!     let wanted = Wanted { plugin: Requirement::parse("sqlite@^1")?, fallback: true };
//!     let config = serde_json::json!({ "path": "example.db" });
//!     let backend = BackendConfig { name: "main".into(), config, data_dir: "/var/lib/example".into() };
//!     let (plugin, fallback) = loader.choose(&wanted, &backend)?;
//!     let mark = loader.mark_opening(&plugin, "main");
//!     let opened = loader.open_store(&plugin, fallback, &backend).await;
//!     drop(mark);
//!     Ok(opened?)
//! }
//! ```
//!
//! A plugin in the process *is* the process: it can read all memory, keys and plaintext included. The trust stage
//! decides who may be one; no later stage can.

pub mod check;
pub mod configure;
pub mod describe;
pub mod discover;
pub mod open;
pub mod probe;
pub mod register;
pub mod stage;
pub mod trust;

pub mod archive;
pub mod connect;
pub mod history;
pub mod loader;
pub mod readback;
pub mod swap;

pub mod polls;
pub mod reply;
pub mod report;
pub mod store;
pub mod trace;

mod failpoint;
mod services;
mod settings;

pub use configure::ConfigureError;
pub use connect::{ConnectError, Wanted};
pub use describe::Descriptor;
pub use discover::{Origin, SearchPath};
pub use history::History;
pub use keyway_abi::{
    AbiBytes, BackupChunk, BackupLevel, BackupPull, BackupRecord, Batch, BatchMode, BatchResult, Begin,
    CallContext, Capabilities, Committed, CommittedKey, Condition, Delete, DropKeyspace, Durability, Entry,
    Error, ErrorCode, Features, Health, Isolation, Key, Limits, Op, OpKind, OpResult, Outcome, Page, Put,
    ReadConsistency, Record, Records, RestoreMode, RestoreRecord, Scan, ScanOrder, Sharing, Version, WriteId,
};
pub use loader::{LoadError, Loader, Requirement};
pub use open::{Images, Plugin, images};
pub use probe::Prober;
pub use register::{Backends, Down, Generation, InUse, Pin, Slot};
pub use reply::{Answered, Reply};
pub use report::{Chain, Fix};
pub use settings::BackendConfig;
pub use stage::Digest;
pub use store::{BackupStream, RestoreSink, Store, Transaction};
pub use swap::{Swap, SwapError, Swapped};
pub use trust::{Grant, LockFile, LockedPlugin, Policy, Trust, TrustedKey};

/// The interface version that this loader was built with.
pub const INTERFACE_VERSION: &str = keyway_abi::INTERFACE_VERSION;
