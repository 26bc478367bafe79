//! Private PostgreSQL servers: each with a data directory, a Unix socket and a free loopback port of its own, run by an
//! unprivileged user, and gone with its handle.
//!
//! [`server`] starts and stops them, [`binaries`] finds the distribution's programs, [`power`] takes a server's power away,
//! [`disk`] fills up, [`control`] lets another process have that done, [`pooler`](mod@pooler) puts PgBouncer before one.

mod binaries;
mod control;
mod disk;
mod pooler;
mod power;
mod server;

pub use binaries::{Binaries, Missing};
pub use control::{Control, Remote};
pub use disk::SmallDisk;
pub use pooler::{NoPooler, Pooler, pooler};
pub use power::Power;
pub use server::{Options, Server};

/// Whether this is a run that must not skip anything.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// Whether this process may mount file systems.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// For a test program that could not be run: says so where there is no PostgreSQL on a machine that may do without, and fails
/// otherwise.
#[expect(clippy::print_stderr, reason = "a test program speaks to whoever runs it")]
pub fn skip(what: &str, error: &anyhow::Error) -> std::process::ExitCode {
    if error.is::<Missing>() && !is_ci() {
        eprintln!("SKIPPED: {what}: {error:#}");
        return std::process::ExitCode::SUCCESS;
    }
    eprintln!("{what}: {error:#}");
    std::process::ExitCode::FAILURE
}

/// A server for a test; none, with a visible line, where there is no PostgreSQL on a machine that may do without.
///
/// # Panics
///
/// Where the server does not start, or nothing may be skipped.
#[expect(clippy::print_stderr, clippy::panic, reason = "for tests, which fail by panicking")]
pub fn needed(options: &Options<'_>) -> Option<Server> {
    match Server::start(options) {
        Ok(server) => Some(server),
        Err(error) if error.is::<Missing>() && !is_ci() => {
            eprintln!("SKIPPED: {error:#}");
            None
        }
        Err(error) => panic!("{error:#}"),
    }
}
