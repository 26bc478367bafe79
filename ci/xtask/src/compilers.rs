//! Plugins built by another compiler than the host: Debian's rustc, from its packages, which are unpacked
//! into a folder and installed nowhere.
//!
//! Debian's only other one, 1.63, is too old for the dependencies and for the edition.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    process::{is_ci, output, root, run, target_dir},
    skipped::skip,
};

const PACKAGES: [&str; 2] = ["rustc-web", "cargo-web"];

/// Builds the plugins. Answers the directory of their libraries, or nothing if the packages cannot be had.
pub(crate) fn prepare() -> Result<Option<PathBuf>> {
    let directory = target_dir().join("second-compiler");
    let unpacked = directory.join("unpacked");
    if !unpacked.join("usr/bin/cargo").exists()
        && let Err(error) = unpack(&directory)
    {
        if is_ci() && Path::new("/etc/debian_version").exists() {
            return Err(error.context("the second compiler"));
        }
        skip(&format!("plugins of another compiler (Debian's packages {}): {error:#}", PACKAGES.join(", ")));
        return Ok(None);
    }
    let program = |name: &str| {
        let mut command = Command::new(unpacked.join("usr/bin").join(name));
        command
            .env("LD_LIBRARY_PATH", libraries(&unpacked))
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("RUSTC");
        command
    };
    let version = match usable(program("rustc"), program("cargo")) {
        Ok(version) => version,
        Err(error) if is_ci() => return Err(error.context("the second compiler")),
        Err(error) => {
            skip(&format!("plugins of another compiler: {error:#}"));
            return Ok(None);
        }
    };
    eprintln!("xtask: the second compiler is {}", version.trim());
    let mut build = program("cargo");
    build
        .current_dir(root())
        .env("RUSTC", unpacked.join("usr/bin/rustc"))
        .env("CARGO_TARGET_DIR", directory.join("target"))
        // Debug information is not needed.
        .env("CARGO_PROFILE_DEV_DEBUG", "none");
    build.args(["build", "--quiet", "--locked", "-p", "keyway-memory-plugin", "-p", "keyway-sqlite-plugin"]);
    run(&mut build)?;
    Ok(Some(directory.join("target/debug")))
}

/// The version of the compiler, if it and its cargo run here and are new enough.
fn usable(mut rustc: Command, mut cargo: Command) -> Result<String> {
    let version = output(rustc.arg("--version"))?;
    output(cargo.arg("--version"))
        .context("its cargo does not run (Debian 12: install the package libpcre3)")?;
    let minor = |text: &str| text.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    let needed = env!("CARGO_PKG_RUST_VERSION");
    if version.split_whitespace().nth(1).and_then(minor) < minor(needed) {
        bail!("{} is older than {needed}, which the workspace needs", version.trim());
    }
    Ok(version)
}

/// Where the packages' own libraries are.
fn libraries(unpacked: &Path) -> String {
    let library = unpacked.join("usr/lib");
    let mut directories = vec![library.clone()];
    let entries = fs::read_dir(&library).into_iter().flatten().filter_map(Result::ok);
    directories.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    let names: Vec<String> = directories.iter().map(|path| path.display().to_string()).collect();
    names.join(":")
}

/// Downloads the packages with what they need that is not here, and unpacks them.
fn unpack(directory: &Path) -> Result<()> {
    let packages = directory.join("packages");
    fs::create_dir_all(&packages)?;
    if is_ci() && rustix::process::geteuid().is_root() {
        run(Command::new("apt-get").args(["update", "-qq"]).stdin(Stdio::null()))?;
    }
    let mut simulation = Command::new("apt-get");
    simulation.args(["-s", "install", "--no-install-recommends"]).args(PACKAGES).stdin(Stdio::null());
    let needed = output(&mut simulation).context("ask apt for the packages")?;
    let names: Vec<&str> =
        needed.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next()).collect();
    if names.is_empty() {
        bail!("apt knows no package {}", PACKAGES.join(", "));
    }
    run(Command::new("apt-get")
        .current_dir(&packages)
        .args(["download", "-qq"])
        .args(&names)
        .stdin(Stdio::null()))?;
    // Renamed once it is whole.
    let partial = directory.join("unpacking");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    for entry in fs::read_dir(&packages)? {
        run(Command::new("dpkg").arg("-x").arg(entry?.path()).arg(&partial))?;
    }
    fs::rename(&partial, directory.join("unpacked"))?;
    Ok(())
}
