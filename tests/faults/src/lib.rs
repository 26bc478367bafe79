//! Disks that fail, lose power and fill up, and what the SQLite backend makes of them.
//!
//! [`Disk`] is what stands between SQLite and the files of one directory: it counts calls, lets one of them fail, and
//! forgets, as a loss of power would, what was not synced. [`vfs`] puts it beneath every connection of the process;
//! the backend under test is the one that ships, and knows nothing of it. [`model`] is what a disk remembers.
//! [`store`] opens the backend, a [`ledger`] knows what was written and what may have become of it, [`campaign`] says
//! how long to go on.

pub mod campaign;
pub mod disk;
pub mod ledger;
pub mod random;
pub mod store;

mod model;
mod vfs;

pub use disk::{Call, Counts, Disk, Fault};
pub use vfs::nameless_files;
