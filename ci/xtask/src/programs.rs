//! Programs of the distribution that tests run. In CI, missing ones are installed if that is possible.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use keyway_private_postgres::{Binaries, Pooler};

use crate::{
    process::{is_ci, run},
    skipped::skip,
};

/// A program, and the package that has it in Debian and its descendants.
const PROGRAMS: [(&str, &str); 11] = [
    ("cc", "gcc"),
    ("curl", "curl"),
    ("faketime", "faketime"),
    ("logrotate", "logrotate"),
    ("minisign", "minisign"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("objcopy", "binutils"),
    ("promtool", "prometheus"),
    ("sqlite3", "sqlite3"),
    ("valgrind", "valgrind"),
];

/// Makes sure that the programs are there. Outside CI, it only prints which ones are missing.
pub(crate) fn prepare() -> Result<()> {
    prepare_postgres()?;
    prepare_pgbouncer()?;
    for (program, package) in PROGRAMS {
        if is_there(program) {
            continue;
        }
        if !is_ci() {
            skip(&format!("the tests with {program} (install the package {package})"));
            continue;
        }
        if rustix::process::geteuid().is_root() {
            install(package)?;
        }
        if !is_there(program) {
            bail!("{program} is missing: install the package {package}");
        }
    }
    Ok(())
}

/// PostgreSQL's programs are in no path.
fn prepare_postgres() -> Result<()> {
    let Err(missing) = Binaries::find() else { return Ok(()) };
    if !is_ci() {
        skip(&format!("the tests with PostgreSQL ({missing})"));
        return Ok(());
    }
    if rustix::process::geteuid().is_root() {
        install("postgresql")?;
    }
    Binaries::find()?;
    Ok(())
}

/// PgBouncer is in a directory of the system's that may be missing from the path.
fn prepare_pgbouncer() -> Result<()> {
    let Err(missing) = Pooler::find() else { return Ok(()) };
    if !is_ci() {
        skip(&format!("the tests with a pooler ({missing})"));
        return Ok(());
    }
    if rustix::process::geteuid().is_root() {
        install("pgbouncer")?;
    }
    Pooler::find()?;
    Ok(())
}

fn is_there(program: &str) -> bool {
    let mut version = Command::new(program);
    // The one that spells it otherwise.
    version
        .arg(if program == "minisign" { "-v" } else { "--version" })
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// Installs a package of the distribution.
pub(crate) fn install(package: &str) -> Result<()> {
    run(Command::new("apt-get").args(["update", "-qq"]).stdin(Stdio::null()))?;
    run(Command::new("apt-get").args(["install", "-y", "-qq", package]).stdin(Stdio::null()))
}
