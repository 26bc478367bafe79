//! Disks that fail, lose power and fill up, and what the SQLite backend makes of them.
//!
//! [`Disk`] is what stands between SQLite and the files of one directory: it counts calls, lets one of them fail, and
//! forgets, as a loss of power would, what was not synced. [`vfs`] puts it beneath every connection of the process;
//! the backend under test is the one that ships, and knows nothing of it. [`model`] is what a disk remembers.
//! [`store`] opens the backend, the conformance suite's ledger knows what was written and what may have become of it,
//! [`campaign`] says how long to go on. [`Offered`] is a disk as the suite's own cases use it.

pub mod campaign;
pub mod disk;
pub mod store;

mod model;
mod offered;
mod vfs;

pub use disk::{Call, Counts, Disk, Fault};
pub use offered::Offered;
pub use vfs::nameless_files;
