//! A Python with the clients that the end-to-end tests use, in a virtual environment under the target directory.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{
    process::{is_ci, run, target_dir},
    programs,
    skipped::skip,
};

/// Exactly these versions: the judges of the protocol.
const REQUIREMENTS: [&str; 1] = ["hvac==2.4.0"];

/// The Python of the virtual environment. If Python is missing and this is not CI, it prints a line and
/// returns none.
pub(crate) fn prepare() -> Result<Option<PathBuf>> {
    match try_prepare() {
        Ok(python) => Ok(Some(python)),
        Err(error) if !is_ci() => {
            skip(&format!("the tests with hvac ({error:#})"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn try_prepare() -> Result<PathBuf> {
    let environment = target_dir().join("venv");
    let python = environment.join("bin/python");
    let marker = environment.join("installed");
    let wanted = REQUIREMENTS.join("\n");
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    make(&environment).context("make a Python virtual environment")?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(REQUIREMENTS);
    run(&mut install).context("install the Python clients")?;
    std::fs::write(marker, wanted)?;
    Ok(python)
}

/// Debian keeps `venv` in a separate package, which is installed if that is possible.
pub(crate) fn make(environment: &std::path::Path) -> Result<()> {
    let venv = || {
        let mut command = Command::new("python3");
        command.args(["-m", "venv", "--clear"]).arg(environment);
        command
    };
    if run(&mut venv()).is_ok() {
        return Ok(());
    }
    if is_ci() && rustix::process::geteuid().is_root() {
        programs::install("python3-venv")?;
    }
    run(&mut venv())
}
