//! Copies of the workspace with other interfaces: later minors, with everything added that may be added, and
//! one that has changed what may not be changed.
//!
//! They share what the workspace has built of other people's crates. Cargo names what it builds of a workspace by
//! paths within it and by profiles, so that the copies' crates would pass for the workspace's: a profile differs.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, root, run, target_dir};

/// The present interface, as `abi/Cargo.toml` has it.
const PRESENT: &str = "version = \"1.0.0\"";

/// What names the shared library of the memory backend.
const SHIM: &str = "plugins/memory/shim/Cargo.toml";

/// Something that is put before a line.
struct Insertion {
    file: &'static str,
    /// The line, whole. Of several the last.
    before: &'static str,
    /// How many further lines after it the insertion comes, instead of before it.
    behind: usize,
    /// With `{n}` for the minor version.
    text: &'static str,
}

/// What a minor version may add: at the end of each table of the interface, with a default for older plugins
/// and hosts.
const ADDITIONS: [Insertion; 11] = [
    Insertion {
        file: "abi/src/store.rs",
        before: "    fn shutdown(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<()>);",
        behind: 1,
        text: "\n    fn added_in_1_{n}(&self, word: u32) -> u32 {\n        word\n    }\n",
    },
    Insertion {
        file: "abi/src/transaction.rs",
        before: "    fn rollback(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<()>);",
        behind: 1,
        text: "\n    fn added_in_1_{n}(&self, word: u32) -> u32 {\n        word\n    }\n",
    },
    Insertion {
        file: "abi/src/backup.rs",
        before: "    fn next(",
        behind: 6,
        text: "\n    fn added_in_1_{n}(&self, word: u32) -> u32 {\n        word\n    }\n",
    },
    Insertion {
        file: "abi/src/backup.rs",
        before: "    fn abort(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<()>);",
        behind: 1,
        text: "\n    fn added_in_1_{n}(&self, word: u32) -> u32 {\n        word\n    }\n",
    },
    Insertion {
        file: "abi/src/root.rs",
        before: "    pub open: unsafe extern \"C\" fn(args: OpenArgs<'_>) -> ForeignReply<StoreObject>,",
        behind: 1,
        text: "    /// Added.\n    #[sabi(missing_field(option))]\n    pub added_in_1_{n}: extern \"C\" fn(u32) -> u32,\n",
    },
    Insertion {
        file: "abi/src/services.rs",
        before: "    pub metric: unsafe extern \"C\" fn(context: *const c_void, sample: &MetricSample<'_>),",
        behind: 1,
        text: "    /// Added.\n    #[sabi(missing_field(option))]\n    pub added_in_1_{n}: extern \"C\" fn(u32) -> u32,\n",
    },
    // The plugin's own answer differs from the default, so that a test can tell them apart.
    Insertion {
        file: "abi/sdk/src/bridge/store.rs",
        before: "    fn shutdown(&self, call: &CallContext<'_>, request: &Request<'_, ()>, reply: &mut ForeignReply<()>) {",
        behind: 0,
        text: "    fn added_in_1_{n}(&self, word: u32) -> u32 {\n        word + 10\n    }\n\n",
    },
    Insertion {
        file: "abi/sdk/src/export.rs",
        before: "/// The root module of a separate library.",
        behind: 0,
        text: "extern \"C\" fn added_in_1_{n}(word: u32) -> u32 {\n    word + 20\n}\n\n",
    },
    // The host's side asks, and says what it heard.
    Insertion {
        file: "host/loader/src/services.rs",
        before: "/// The context of a pointer that a backend handed back.",
        behind: 0,
        text: "extern \"C\" fn added_in_1_{n}(word: u32) -> u32 {\n    word + 30\n}\n\n",
    },
    Insertion {
        file: "host/loader/src/configure.rs",
        before: "    let checked = match check_claims(&store, plugin, backend, &plugin_name) {",
        behind: 0,
        text: "    println!(\"host: added in 1.{n}: store {}, root {:?}\", store.object.added_in_1_{n}(0), \
               plugin.root.added_in_1_{n}().map(|added| added(0)));\n",
    },
    Insertion {
        file: "abi/sdk/src/bridge.rs",
        before: "    let state = BackendState::leak(args.backend_name.as_str(), args.context, args.services);",
        behind: 1,
        text: "    println!(\"plugin: added in 1.{n}: services {:?}\", \
               args.services.added_in_1_{n}().map(|added| added(0)));\n",
    },
];

/// Parts of lines that name every field of a table.
const FIELDS: [(&str, &str, &str); 3] = [
    ("abi/sdk/src/export.rs", "open: open_exported::<B> }", "open: open_exported::<B>, {} }"),
    ("abi/sdk/src/export.rs", "open: bridge::open::<B> }", "open: bridge::open::<B>, {} }"),
    (
        "host/loader/src/services.rs",
        "HostServices { log_enabled, log, metric }",
        "HostServices { log_enabled, log, metric, {} }",
    ),
];

/// Builds the variants. Answers the directory that holds `MINOR/debug` for each, and `skewed/debug`.
pub(crate) fn prepare() -> Result<PathBuf> {
    let directory = target_dir().join("evolution");
    for minor in [1, 2] {
        let name = format!("1.{minor}");
        let packages = ["keyway-memory-plugin", "keyway-evolution"];
        build(&directory.join(&name), minor, &packages, &|file, text| add(file, text, minor))?;
    }
    build(&directory.join("skewed"), 3, &["keyway-memory-plugin"], &skew)?;
    Ok(directory)
}

/// Builds one variant in `directory`. `number` differs between them.
fn build(
    directory: &Path,
    number: u32,
    packages: &[&str],
    change: &dyn Fn(&str, String) -> Result<String>,
) -> Result<()> {
    let source = directory.join("source");
    let library = format!("keyway_memory_{number}");
    copy(&source, &|file, text| match file {
        // Shared libraries are built under their names alone.
        SHIM => replace(&text, "name = \"keyway_memory\"", &format!("name = \"{library}\"")),
        // The inserted code need not follow the conventions.
        "Cargo.toml" => Ok(text.replace("= \"warn\"", "= \"allow\"").replace("= \"deny\"", "= \"allow\"")),
        _ => change(file, text),
    })?;
    let mut command = cargo(&["build", "--quiet"]);
    command.current_dir(&source).env("CARGO_TARGET_DIR", directory);
    command.env("CARGO_BUILD_BUILD_DIR", target_dir());
    // All their crates depend on this one.
    command.arg("--config").arg(format!("profile.dev.package.keyway-abi.codegen-units={}", 100 + number));
    for package in packages {
        command.args(["-p", package]);
    }
    run(&mut command)?;
    let built = directory.join("debug");
    fs::copy(built.join(format!("lib{library}.so")), built.join("libkeyway_memory.so"))
        .context("name the library")?;
    Ok(())
}

/// Copies the workspace as it is, changed by `change`. Files that stay the same are left alone, for cargo's sake.
fn copy(to: &Path, change: &dyn Fn(&str, String) -> Result<String>) -> Result<()> {
    let mut files = Vec::new();
    list(root(), &mut files)?;
    for file in &files {
        let bytes = fs::read(root().join(file)).with_context(|| format!("read {file}"))?;
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => change(file, text).with_context(|| format!("change {file}"))?.into_bytes(),
            Err(error) => error.into_bytes(),
        };
        let target = to.join(file);
        if fs::read(&target).is_ok_and(|present| present == bytes) {
            continue;
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, bytes)?;
    }
    Ok(())
}

/// The files of the workspace, by their paths in it: all but hidden ones and what is built. A machine may lack git.
fn list(directory: &Path, files: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).context("a file name that is not Unicode")?;
        if name.starts_with('.') || name == "target" || path == target_dir() {
            continue;
        }
        if path.is_dir() {
            list(&path, files)?;
        } else {
            let file = path.strip_prefix(root())?.to_str().context("a path that is not Unicode")?;
            files.push(file.to_owned());
        }
    }
    Ok(())
}

/// The interface `1.{minor}`.
fn add(file: &str, mut text: String, minor: u32) -> Result<String> {
    if file == "abi/Cargo.toml" {
        return replace(&text, PRESENT, &format!("version = \"1.{minor}.0\""));
    }
    // From the last to the first: each insertion comes before the earlier ones.
    for number in (1..=minor).rev() {
        for addition in ADDITIONS.iter().filter(|addition| addition.file == file) {
            text = insert(&text, addition, number)?;
        }
    }
    for (_, line, with) in FIELDS.iter().filter(|(in_file, _, _)| *in_file == file) {
        let names: Vec<String> = (1..=minor).map(|number| format!("added_in_1_{number}")).collect();
        text = replace(&text, line, &with.replace("{}", &names.join(", ")))?;
    }
    Ok(text)
}

fn insert(text: &str, addition: &Insertion, number: u32) -> Result<String> {
    let lines: Vec<&str> = text.lines().collect();
    let Some(at) = lines.iter().rposition(|line| *line == addition.before) else {
        bail!("there is no line {:?} in {}: keep the additions in step", addition.before, addition.file);
    };
    let (before, behind) = lines.split_at(at + addition.behind);
    let added = addition.text.replace("{n}", &number.to_string());
    Ok(format!("{}\n{added}{}\n", before.join("\n"), behind.join("\n")))
}

/// The present version, with two methods in each other's place: what a version number does not tell.
fn skew(file: &str, text: String) -> Result<String> {
    if file != "abi/src/store.rs" {
        return Ok(text);
    }
    let (first, second) = (
        "    fn put(&self, call: &CallContext<'_>, request: &Request<'_, Put<'_>>, reply: &mut ForeignReply<Version>);\n",
        "    fn scan(&self, call: &CallContext<'_>, request: &Request<'_, Scan<'_>>, reply: &mut ForeignReply<Page>);\n",
    );
    let text = replace(&text, first, "@")?;
    let text = replace(&text, second, first)?;
    replace(&text, "@", second)
}

fn replace(text: &str, from: &str, to: &str) -> Result<String> {
    if !text.contains(from) {
        bail!("there is no {from:?}: keep the variants in step");
    }
    Ok(text.replacen(from, to, 1))
}
