//! Private PostgreSQL servers. Each has its own data directory, Unix socket and free loopback port, is run by
//! an unprivileged user, and ends with its handle.
//!
//! [`server`] starts and stops them, [`binaries`] finds the distribution's programs, [`power`] takes a
//! server's power away, [`disk`] fills up, [`control`] lets another process have that done,
//! [`pooler`](mod@pooler) puts PgBouncer before one.

mod binaries;
mod control;
mod disk;
mod pooler;
mod ports;
mod power;
mod server;
mod user;

pub use binaries::{Binaries, Missing};
pub use control::{Control, Remote};
pub use disk::SmallDisk;
pub use pooler::{NoPooler, Pooler, pooler};
pub use ports::free_port;
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

/// Reports a test program that could not run. Outside CI, a missing PostgreSQL only skips it; any other error
/// is a failure.
#[expect(clippy::print_stderr, reason = "a test program prints for its caller")]
pub fn skip(what: &str, error: &anyhow::Error) -> std::process::ExitCode {
    if error.is::<Missing>() && !is_ci() {
        eprintln!("SKIPPED: {what}: {error:#}");
        return std::process::ExitCode::SUCCESS;
    }
    eprintln!("{what}: {error:#}");
    std::process::ExitCode::FAILURE
}

/// A server for a test. If PostgreSQL is missing and this is not CI, it prints a line and returns none.
///
/// # Panics
///
/// If the server does not start, or nothing may be skipped.
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
