//! The packages of the JavaScript client that the end-to-end tests use, under the target directory.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{
    process::{is_ci, run, target_dir},
    skipped::skip,
};

/// Exactly these versions, with the hashes of the registry's archives: the judges of the protocol.
const FILES: [(&str, &str); 2] = [
    ("package.json", include_str!("../../../tests/e2e/node/package.json")),
    ("package-lock.json", include_str!("../../../tests/e2e/node/package-lock.json")),
];

/// The directory of the packages; none, with a visible line, if there is no Node.js on a machine that may do
/// without.
pub(crate) fn prepare() -> Result<Option<PathBuf>> {
    match try_prepare() {
        Ok(packages) => Ok(Some(packages)),
        Err(error) if !is_ci() => {
            skip(&format!("the tests with node-vault ({error:#})"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn try_prepare() -> Result<PathBuf> {
    run(Command::new("node").arg("--version"))
        .context("run Node.js (install the packages nodejs and npm)")?;
    let directory = target_dir().join("node");
    let packages = directory.join("node_modules");
    let marker = directory.join("installed");
    let [_, (_, wanted)] = FILES;
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(packages);
    }
    fs::create_dir_all(&directory).context("make a directory for the JavaScript client")?;
    for (name, text) in FILES {
        fs::write(directory.join(name), text).with_context(|| format!("write {name}"))?;
    }
    let mut install = Command::new("npm");
    install.current_dir(&directory).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
    run(&mut install).context("install the JavaScript client")?;
    fs::write(marker, wanted)?;
    Ok(packages)
}
