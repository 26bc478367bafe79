//! The conformance suite of storage backends: the interface's promises as cases, each with a verdict.
//!
//! The suite runs the cases of all promises that the capabilities of the backend claim. Another case checks
//! that operations that are not claimed answer `Unsupported` and change nothing. Each failure states the
//! promise and the observation.
//!
//! [`Suite`] runs each case in a separate process with a deadline, so that a crash or a hang is a finding
//! like any other. [`main`] is a whole test program around it, for authors. The program `keyway-conform` does
//! the same for a library. [`run_here`] runs what can be run in one process:
//!
//! ```
//! # use keyway_memory_backend::Memory as Example;
//! use keyway_conformance::{Options, Subject, run_here};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plugin = keyway_loader::Plugin::linked(keyway_sdk::linked::<Example>())?;
//! let options = Options { only: vec!["get_".into(), "put_".into()], ..Options::default() };
//! let report = run_here(&Subject::new(plugin, serde_json::json!({})), &options)?;
//! assert!(report.broken().next().is_none(), "{report}");
//! # Ok(())
//! # }
//! ```
//!
//! [`cases`](cases()) lists the promises, each a [`Case`]. A [`Subject`] is the plugin under test, and a
//! [`Report`] has the findings.

mod calls;
mod case;
mod cases;
mod checkers;
mod command;
mod facts;
mod faults;
mod ground;
mod harness;
pub mod ledger;
mod options;
mod process;
mod random;
mod report;
mod subject;
pub mod suite;
mod timeline;
mod verdict;

pub use calls::write_id;
pub use case::Case;
pub use cases::cases;
pub use command::{Named, main, main_for};
pub use facts::{Claims, Facts};
pub use faults::{Faults, FaultsIn, Trouble, Unoffered};
pub use harness::Harness;
pub use options::{Found, Options};
pub use process::Program;
pub use random::Random;
pub use report::{Finding, Report};
pub use subject::{Library, Subject};
pub use suite::{Suite, SuiteError, run_here};
pub use verdict::{Effort, Stop, Verdict};
