//! The user that PostgreSQL runs as: it refuses to run as root.

use std::{
    os::unix::{fs::chown, process::CommandExt as _},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use rustix::process::{getegid, geteuid};

/// The user that runs PostgreSQL if root runs the tests: PostgreSQL refuses to run as root.
const UNPRIVILEGED: u32 = 65_534;

/// A program of PostgreSQL, run by an unprivileged user: it refuses to run as root.
pub(crate) fn unprivileged(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    if geteuid().is_root() {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command
}

/// Makes a file the server's.
pub(crate) fn give_away(path: &Path) -> Result<()> {
    let (user, group) = if geteuid().is_root() {
        (UNPRIVILEGED, UNPRIVILEGED)
    } else {
        (geteuid().as_raw(), getegid().as_raw())
    };
    chown(path, Some(user), Some(group)).with_context(|| format!("make {} the server's", path.display()))
}
