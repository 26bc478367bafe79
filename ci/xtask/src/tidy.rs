//! `cargo xtask tidy`: the conventions that no other tool checks.

mod cycles;
mod documented;
mod language;
mod targets;

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{
    process::{cargo, is_ci, output, root},
    programs::install,
    skipped::skip,
};

/// The longest Rust file. A ratchet: it may become smaller.
const MAX_LINES: usize = 450;

/// A word that may stand in some places only.
struct Confined {
    word: &'static str,
    places: &'static [&'static str],
    reason: &'static str,
}

const CONFINED: [Confined; 9] = [
    Confined {
        word: "abi_stable",
        places: &["abi/", "host/loader/", "tests/compat/mutants/raw/", "ci/xtask/src/api.rs"],
        reason: "the layer beneath the interface is confined (ADR 0001)",
    },
    Confined {
        word: "async_ffi",
        places: &["abi/", "host/loader/"],
        reason: "the layer beneath the interface is confined (ADR 0001)",
    },
    Confined {
        word: "keyway_abi",
        places: &["abi/", "host/loader/", "tests/compat/mutants/raw/", "ci/xtask/src/api.rs"],
        reason: "the host does not name the interface",
    },
    Confined {
        word: "libloading",
        places: &["host/loader/src/open.rs"],
        reason: "one place loads libraries",
    },
    Confined {
        word: ".pattern",
        places: &[
            "host/api/src/route.rs",
            "host/api/src/search.rs",
            "host/api/src/gate.rs",
            "host/core/",
            "host/loader/",
            "tests/",
            "ci/",
            "host/src/",
        ],
        reason: "the table of routes and the search in it are the only ones that know a path's pattern",
    },
    Confined {
        word: "path.as_str().starts_with",
        places: &["host/api/src/target.rs"],
        reason: "one place compares paths of requests",
    },
    Confined {
        word: "path.as_str() ==",
        places: &["host/api/src/target.rs"],
        reason: "one place compares paths of requests",
    },
    Confined {
        word: "StatusCode",
        places: &["host/api/src/answer.rs", "host/api/src/error.rs"],
        reason: "one place knows HTTP status codes",
    },
    Confined {
        word: "unsafe_code",
        places: &[
            "abi/src/",
            "abi/sdk/src/bridge",
            "abi/sdk/src/export.rs",
            "abi/sdk/src/state.rs",
            "examples/lmdb/src/environment.rs",
            "host/loader/src/open.rs",
            "host/loader/src/services.rs",
            "host/loader/src/probe/sandbox.rs",
            "host/common/src/offload/heap.rs",
            "host/server/src/signals/mask.rs",
            "tests/bench/src/allocations.rs",
            "tests/compat/fixtures/panicking/lib.rs",
            "tests/compat/fixtures/tagged/lib.rs",
            "tests/compat/mutants/raw/lib.rs",
            "tests/compat/tagging/lib.rs",
            "tests/faults/src/vfs.rs",
        ],
        reason: "unsafe code stands in named places only",
    },
];

const STUBS: [&str; 5] = ["todo!(", "unimplemented!(", "#[ignore", "FIXME", "XXX"];

pub(crate) fn tidy() -> Result<()> {
    let Some(files) = files()? else {
        skip("tidy, which asks git for the files (install the package git, or use a git checkout)");
        return Ok(());
    };
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| !file.starts_with("ci/xtask/src/tidy")) {
        if let Ok(text) = fs::read_to_string(root().join(file)) {
            check(file, &text, &mut problems);
            if file.ends_with(".md") {
                check_named_files(file, &text, &files, &mut problems);
            }
        }
    }
    // Modules of a library, a program or a test import from each other in no circle.
    // A template is not Rust before it is filled in.
    let code = files.iter().filter(|file| !file.starts_with("plugin-template/"));
    let roots = code.filter_map(|file| file.strip_suffix("lib.rs").or(file.strip_suffix("main.rs")));
    for directory in roots.collect::<BTreeSet<_>>() {
        cycles::check(directory, &files, &mut problems)?;
    }
    targets::check(&files, &mut problems)?;
    language::check(&files, &mut problems)?;
    documented::check(&files, &mut problems)?;
    check_adrs(&files, &mut problems);
    if let Err(error) = output(&mut cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"])) {
        problems.push(format!("Cargo.lock: not up to date ({error:#})"));
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!("tidy:\n  {}", problems.join("\n  "))
}

/// The files of the checkout; none if git cannot say, on a machine that may do without.
fn files() -> Result<Option<Vec<String>>> {
    if is_ci()
        && rustix::process::geteuid().is_root()
        && Command::new("git").arg("--version").output().is_err()
    {
        install("git")?;
    }
    let mut list = Command::new("git");
    list.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    match output(&mut list) {
        Ok(listed) => Ok(Some(listed.lines().map(str::to_owned).collect())),
        Err(error) if is_ci() => Err(error.context("tidy needs a git checkout")),
        Err(_) => Ok(None),
    }
}

fn check(file: &str, text: &str, problems: &mut Vec<String>) {
    if file.ends_with("/mod.rs") {
        problems.push(format!("{file}: name it after its module, next to the module's directory"));
    }
    if file.ends_with(".md") {
        check_links(file, text, problems);
    }
    if Path::new(file).extension().is_none_or(|extension| extension != "rs") {
        return;
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        problems
            .push(format!("{file}: {lines} lines, and {MAX_LINES} is the longest; part it by its stages"));
    }
    for (number, line) in text.lines().enumerate() {
        let at = format!("{file}:{}", number + 1);
        problems
            .extend(STUBS.iter().filter(|stub| line.contains(**stub)).map(|stub| format!("{at}: {stub}")));
        for Confined { word, places, reason } in &CONFINED {
            let comment = line.trim_start().starts_with("//");
            if line.contains(word) && !comment && !places.iter().any(|place| file.starts_with(place)) {
                problems.push(format!("{at}: {word}: {reason}"));
            }
        }
    }
}

/// Links to files of the repository must lead somewhere.
fn check_links(file: &str, text: &str, problems: &mut Vec<String>) {
    let directory = root().join(file).parent().map(Path::to_owned).unwrap_or_default();
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let target = link.split('#').next().unwrap_or_default();
        if !target.is_empty() && !target.contains("://") && !directory.join(target).exists() {
            problems.push(format!("{file}: the link to {target} leads nowhere"));
        }
    }
}

/// Source files that a document names must be there: from the root, or from any directory.
fn check_named_files(document: &str, text: &str, files: &[String], problems: &mut Vec<String>) {
    let named = text.split('`').skip(1).step_by(2).filter(|name| {
        let is_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.');
        name.ends_with(".rs") && name.contains('/') && name.chars().all(is_path) && !name.contains("NAME")
    });
    for name in named {
        let end = format!("/{name}");
        if !files.iter().any(|file| file == name || file.ends_with(&end)) {
            problems.push(format!("{document}: there is no file {name}"));
        }
    }
}

/// Decisions are numbered without gaps.
fn check_adrs(files: &[String], problems: &mut Vec<String>) {
    let mut names: Vec<&str> = files.iter().filter_map(|file| file.strip_prefix("docs/adr/")).collect();
    names.sort_unstable();
    for (index, name) in names.iter().enumerate() {
        if !name.starts_with(&format!("{:04}-", index + 1)) {
            problems.push(format!("docs/adr/{name}: the number should be {:04}", index + 1));
        }
    }
}
