//! Running other programs from the root of the workspace.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().and_then(Path::parent).unwrap_or(here)
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Whether this is a run that must not skip anything.
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// The cargo that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    without_own_package(&mut command);
    command
}

/// Takes away what cargo has set for xtask's own package. Some crates are built again when it differs.
pub(crate) fn without_own_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let is_own = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if is_own {
            command.env_remove(name);
        }
    }
}

/// Builds the programs, libraries and tests of the workspace, in one command: features differ between selections of
/// packages, and every other selection builds most dependencies again.
pub(crate) fn build_workspace() -> Result<()> {
    run(&mut cargo(&["build", "--workspace", "--lib", "--bins", "--tests", "--examples"]))
}

/// Runs a command to its end, and says what failed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("xtask: {}", describe(command));
    let status = command.status().with_context(|| format!("start {}", describe(command)))?;
    ensure!(status.success(), "{} failed with {status}", describe(command));
    Ok(())
}

/// Runs a command to its end, and answers what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("start {}", describe(command)))?;
    ensure!(output.status.success(), "{} failed with {}", describe(command), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("the output of {}", describe(command)))
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
