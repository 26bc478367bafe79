//! `plugin-template/`, as authors meet it: projects made by `cargo generate` and by `keyway plugin new`, outside the
//! workspace, against packaged crates: built, linted, put through the conformance suite, loaded.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    process::{cargo, is_ci, output, root, run, target_dir},
    skipped::skip,
    together,
};

/// The crates that authors depend on: each with its package, in the order of their dependencies.
const PACKAGES: [&str; 4] = ["keyway-abi", "keyway-loader", "keyway-conformance", "keyway-sdk"];

/// The newest that builds with the oldest compiler that Keyway builds with.
const CARGO_GENERATE: &str = "0.23.14";

/// Every store with every kind of calls that it has, under names of every kind. The first word is the name as an author
/// types it, the second one what becomes of it.
const PROJECTS: [Project; 6] = [
    Project { typed: "My-Store2", name: "my-store2", store: "map", calls: "async" },
    Project { typed: "plain", name: "plain", store: "map", calls: "blocking" },
    Project { typed: "zeta_log", name: "zeta-log", store: "log", calls: "blocking" },
    Project { typed: "AsyncLog9", name: "async-log9", store: "log", calls: "async" },
    Project { typed: "a", name: "a", store: "sql", calls: "blocking" },
    Project { typed: "remote-keyway-store", name: "remote-keyway-store", store: "network", calls: "async" },
];

/// Stores whose promises need a disk that fails, in `tests/authoring/over_faults`.
const OVER_FAULTS: [Project; 2] = [
    Project { typed: "log-over-faults", name: "log-over-faults", store: "log", calls: "blocking" },
    Project { typed: "sql-over-faults", name: "sql-over-faults", store: "sql", calls: "blocking" },
];

/// A project of an author.
#[derive(Clone, Copy)]
struct Project {
    typed: &'static str,
    name: &'static str,
    store: &'static str,
    calls: &'static str,
}

/// Where an author works: a directory outside the workspace, which goes when it is dropped.
pub(crate) struct Desk(PathBuf);

impl Desk {
    pub(crate) fn new(purpose: &str) -> Result<Self> {
        let directory = env::temp_dir().join(format!("keyway-{purpose}-{}", std::process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        Ok(Self(directory))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // What is left of it is in the directory for temporary files.
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// Makes and proves all projects.
pub(crate) fn prove() -> Result<()> {
    let packages = package()?;
    let desk = Desk::new("authors")?;
    let patches = patches(&packages);
    let generator = cargo_generate()?;
    for project in PROJECTS {
        let made = desk.0.join(project.name);
        keyway_new(project, &made, None)?;
        if let Some(generator) = &generator {
            compare(generator, project, &desk.0, &made)?;
        }
        check(&made, &patches)?;
    }
    for project in OVER_FAULTS {
        let made = desk.0.join(project.name);
        keyway_new(project, &made, Some(root()))?;
        put_over_faults(project, &made)?;
        author_cargo(&made, &["test", "--no-run", "--test", "over_faults"], &[])?;
    }
    // The suite waits more than it computes.
    let mut tests: Vec<(&str, Command)> = Vec::new();
    for project in PROJECTS {
        let mut words = vec!["test", "--quiet"];
        if (project.store, project.calls) == ("log", "blocking") {
            // The guide puts this one through the suite.
            words.extend(["--test", "config", "--test", "loaded"]);
        }
        tests.push((project.name, author_command(&desk.0.join(project.name), &words, &patches)));
    }
    for project in OVER_FAULTS {
        let words = ["test", "--quiet", "--test", "over_faults", "--", "--strict"];
        tests.push((project.name, author_command(&desk.0.join(project.name), &words, &[])));
    }
    together::run(tests)
}

/// Packages the crates, and unpacks them: what a registry would give to an author.
fn package() -> Result<PathBuf> {
    let mut arguments = vec!["package", "--no-verify", "--allow-dirty", "--quiet"];
    arguments.extend(PACKAGES.iter().flat_map(|package| ["--package", package]));
    run(&mut cargo(&arguments))?;
    let unpacked = target_dir().join("packages");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).context("remove old packages")?;
    }
    fs::create_dir_all(&unpacked).context("make a directory for packages")?;
    for package in PACKAGES {
        let version = output(&mut cargo(&["pkgid", "--package", package]))?;
        let version = version.trim().rsplit(['#', '@']).next().unwrap_or_default().to_owned();
        let file = target_dir().join(format!("package/{package}-{version}.crate"));
        // With the present time: packaged files have a fixed one, and cargo would not see that they have changed.
        run(Command::new("tar").arg("-xmzf").arg(&file).arg("-C").arg(&unpacked))?;
        let named = unpacked.join(package);
        fs::rename(unpacked.join(format!("{package}-{version}")), &named).context("name a package")?;
        let manifest = fs::read_to_string(named.join("Cargo.toml")).context("read a packaged manifest")?;
        for field in
            ["description", "readme", "documentation", "keywords", "categories", "license", "rust-version"]
        {
            let is_there = manifest.lines().any(|line| line.starts_with(&format!("{field} = ")));
            ensure!(is_there, "{package} is packaged without the field {field}");
        }
    }
    Ok(unpacked)
}

/// The options that take the crates from their packages, as if they were on crates.io.
fn patches(packages: &Path) -> Vec<String> {
    let patch = |package: &&str| {
        let path = packages.join(package);
        ["--config".to_owned(), format!("patch.crates-io.{package}.path=\"{}\"", path.display())]
    };
    PACKAGES.iter().flat_map(patch).collect()
}

/// cargo-generate; none, with a visible line, on a machine that may do without.
fn cargo_generate() -> Result<Option<PathBuf>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home =
        home.or_else(|| env::home_dir().map(|home| home.join(".cargo"))).context("find cargo's home")?;
    let program = home.join("bin/cargo-generate");
    let is_there = |program: &Path| {
        let version = Command::new(program).args(["generate", "--version"]).stderr(Stdio::null()).output();
        version.is_ok_and(|told| String::from_utf8_lossy(&told.stdout).contains(CARGO_GENERATE))
    };
    if is_there(&program) {
        return Ok(Some(program));
    }
    if !is_ci() {
        let install = format!("cargo install cargo-generate --version {CARGO_GENERATE} --locked");
        skip(&format!("the comparison with cargo generate ({install})"));
        return Ok(None);
    }
    // Where every other tool of cargo is. Not optimised: it makes six small projects.
    let version = format!("={CARGO_GENERATE}");
    let mut install =
        cargo(&["install", "cargo-generate", "--version", &version, "--locked", "--debug", "--quiet"]);
    run(install.env("CARGO_PROFILE_DEV_DEBUG", "false").env_remove("CARGO_TARGET_DIR"))?;
    ensure!(is_there(&program), "cargo has not installed {}", program.display());
    Ok(Some(program))
}

/// Makes a project as an author does; `checkout` is the switch from versions to paths.
fn keyway_new(project: Project, directory: &Path, checkout: Option<&Path>) -> Result<()> {
    let mut command = Command::new(target_dir().join("debug/keyway"));
    command.args(["plugin", "new", project.typed, "--store", project.store, &format!("--{}", project.calls)]);
    command.arg("--dir").arg(directory).stdout(Stdio::null());
    if let Some(checkout) = checkout {
        command.arg("--keyway").arg(checkout);
    }
    run(&mut command)?;
    // The versions that the workspace is tested with; what the author's project does not need, cargo leaves out.
    fs::copy(root().join("Cargo.lock"), directory.join("Cargo.lock")).context("copy the versions")?;
    Ok(())
}

/// Fails unless cargo-generate makes the same.
fn compare(generator: &Path, project: Project, desk: &Path, made: &Path) -> Result<()> {
    let other = desk.join("by-cargo-generate").join(project.name);
    fs::create_dir_all(&other).context("make a directory for cargo-generate")?;
    let (store, calls) = (format!("store={}", project.store), format!("calls={}", project.calls));
    let mut command = Command::new(generator);
    command.args(["generate", "--silent", "--vcs", "none", "--name", project.typed, "--path"]);
    command.arg(root().join("plugin-template")).current_dir(&other);
    command.args(["--define", &store, "--define", &calls, "--define", "keyway="]).stdout(Stdio::null());
    run(command.stderr(Stdio::null()))?;
    // The directory has the name as it was typed, or as it became.
    let mut generated = fs::read_dir(&other).context("list what cargo-generate has made")?;
    let generated = generated.next().context("cargo-generate has made nothing")??.path();
    let diff = Command::new("diff")
        .args(["--recursive", "--exclude", "Cargo.lock"])
        .arg(generated)
        .arg(made)
        .output()
        .context("compare two directories")?;
    ensure!(
        diff.status.success(),
        "cargo generate and keyway plugin new differ for {}:\n{}",
        project.name,
        String::from_utf8_lossy(&diff.stdout)
    );
    Ok(())
}

/// Formatting, lints, and the build of the tests: without a warning.
fn check(made: &Path, patches: &[String]) -> Result<()> {
    author_cargo(made, &["fmt", "--check"], &[])?;
    author_cargo(made, &["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"], patches)?;
    author_cargo(made, &["test", "--quiet", "--no-run"], patches)
}

/// Adds the cases that need a disk that fails.
fn put_over_faults(project: Project, made: &Path) -> Result<()> {
    let source = root().join("tests/authoring/over_faults").join(project.store).with_extension("rs");
    fs::copy(source, made.join("tests/over_faults.rs")).context("copy the cases over faults")?;
    let manifest = made.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).context("read a manifest")?;
    let faults = root().join("tests/faults");
    let dependency = format!("[dev-dependencies]\nkeyway-faults = {{ path = \"{}\" }}", faults.display());
    let text = text.replace("[dev-dependencies]", &dependency);
    let target = "\n[[test]]\nname = \"over_faults\"\nharness = false\n";
    fs::write(manifest, text + target).context("write a manifest")
}

fn author_cargo(made: &Path, words: &[&str], patches: &[String]) -> Result<()> {
    run(&mut author_command(made, words, patches))
}

/// Cargo in an author's project. What it builds on the way goes where the workspace's is, so that the dependencies are
/// built once; what it makes stays in the project.
fn author_command(made: &Path, words: &[&str], patches: &[String]) -> Command {
    let mut command = cargo(&[]);
    command.current_dir(made).env_remove("CARGO_TARGET_DIR").env("CARGO_BUILD_BUILD_DIR", target_dir());
    let (first, rest) = words.split_first().map_or(("", words), |(first, rest)| (*first, rest));
    command.arg(first);
    if first != "fmt" {
        // As in the workspace, without which nothing would be the same.
        command.args(["--config", "profile.dev.debug=\"line-tables-only\""]).args(patches);
    }
    command.args(rest);
    command
}
