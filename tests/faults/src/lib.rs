//! Disks that fail, lose power and fill up, for tests of backends.
//!
//! A [`Disk`] stands between SQLite and the files of one directory. It counts calls, lets some of them fail,
//! and loses writes that were not synced, as a loss of power does. [`vfs`] puts it beneath every connection
//! of the process: the backend under test is the one that ships, and does not know of it. [`files`] is for
//! backends that use files themselves. [`model`] holds the content that a disk remembers. [`store`] opens the
//! backend, and the conformance suite's ledger knows the possible outcomes of each write. [`campaign`] says how
//! long to go on. [`Offered`] is a disk for the cases of the suite.

pub mod campaign;
pub mod disk;
pub mod files;
pub mod store;

mod device;
mod model;
mod offered;
mod vfs;

pub use device::{Call, Counts, Fault};
pub use disk::Disk;
pub use offered::Offered;
pub use vfs::nameless_files;
