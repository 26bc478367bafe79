//! What authors compile against: the public items of keyway-abi and keyway-sdk, one a line, in a file in each package.
//!
//! A new major version is needed for a line that goes or changes; for something that implementors of a trait must have
//! and did not need before; and for a variant of an enum that others may match exhaustively. Fields of structs are not
//! looked at: those that authors build cross the interface, whose layout never changes.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use public_api::Builder;
use serde_json::Value;

use crate::{
    process::{cargo, is_ci, output, root, run, target_dir},
    skipped::skip,
};

/// Packages, their directories, and the names of their libraries.
const PACKAGES: [(&str, &str, &str); 2] =
    [("keyway-abi", "abi", "keyway_abi"), ("keyway-sdk", "abi/sdk", "keyway_sdk")];
const FILE: &str = "public-api.txt";
/// What stands before a member that implementors of a trait must have.
const REQUIRED: &str = "required ";

/// What has become of the items of a version that is published.
#[derive(Debug, PartialEq, Eq)]
struct Difference<'a> {
    /// What code of authors no longer compiles with.
    breaking: Vec<String>,
    new: Vec<&'a str>,
}

/// Compares the items with the files, or writes them.
pub(crate) fn check(writes: bool) -> Result<()> {
    for (package, directory, library) in PACKAGES {
        let json = document(package, library)?;
        let items = Builder::from_rustdoc_json(&json).omit_blanket_impls(true).build();
        let items = match items {
            Ok(items) => {
                let named = items.items().map(|item| format!("{item}\n")).filter(|line| !is_generated(line));
                named.collect::<String>() + &required(&json)?
            }
            // Each compiler writes a form of its documentation that is its own.
            Err(error) if !is_ci() => {
                skip(&format!(
                    "the public items of {package}, which this compiler describes otherwise: {error}"
                ));
                continue;
            }
            Err(error) => return Err(error).context("read what rustdoc has written"),
        };
        let major = major(package)?;
        let path = root().join(directory).join(FILE);
        let before = fs::read_to_string(&path).unwrap_or_default();
        let text = format!("{}\n{items}", heading(package, major));
        let difference = compare(&before, &text);
        let has_new_major = major_of(&before).is_none_or(|before| before < major);
        ensure!(
            difference.breaking.is_empty() || has_new_major,
            "code of authors no longer compiles with {package} {major}: keep what it needs, or make it {}.0.0:\n  {}",
            major + 1,
            difference.breaking.join("\n  ")
        );
        if writes {
            fs::write(&path, &text).with_context(|| format!("write {}", path.display()))?;
        }
        ensure!(
            writes || before == text,
            "{} is not what {package} has; write it with `cargo xtask api --write`. New:\n  {}",
            path.display(),
            difference.new.join("\n  ")
        );
    }
    Ok(())
}

/// The documentation of a library as JSON. Rustdoc alone may do what is unstable: build scripts look at the same
/// variable, and would build their crates differently.
fn document(package: &str, library: &str) -> Result<PathBuf> {
    let directory = target_dir().join("api");
    fs::create_dir_all(&directory).context("make a directory")?;
    let rustdoc = directory.join("rustdoc");
    fs::write(&rustdoc, "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n").context("write a script")?;
    fs::set_permissions(&rustdoc, fs::Permissions::from_mode(0o755)).context("make a script executable")?;
    let words = ["rustdoc", "--quiet", "--package", package, "--lib", "--"];
    let mut command = cargo(&words);
    command.args(["-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"]);
    run(command.env("RUSTDOC", &rustdoc).env_remove("RUSTDOCFLAGS"))?;
    Ok(target_dir().join("doc").join(Path::new(library).with_extension("json")))
}

fn major(package: &str) -> Result<u64> {
    let id = output(&mut cargo(&["pkgid", "--package", package]))?;
    let version = id.trim().rsplit(['#', '@']).next().unwrap_or_default();
    version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .with_context(|| format!("the version {version}"))
}

/// The major version of a list; none if there is no list.
fn major_of(list: &str) -> Option<u64> {
    let heading = list.lines().next()?.strip_prefix("# The public items of ")?;
    heading.split_whitespace().nth(1)?.trim_end_matches('.').parse().ok()
}

fn heading(package: &str, major: u64) -> String {
    format!(
        "# The public items of {package} {major}. A line may be added, and none may go. Written by `cargo xtask api --write`."
    )
}

/// Whether a line is about what abi_stable or the compiler generates, and authors never name. The layout's snapshot holds it.
fn is_generated(line: &str) -> bool {
    // Of what the compiler derives by itself, authors name these two alone.
    let is_auto = ["Freeze", "Unpin", "UnwindSafe", "RefUnwindSafe"]
        .iter()
        .any(|name| line.contains(&format!("::{name} for ")));
    is_auto || ["abi_stable::", "_trait::", "_static_"].iter().any(|part| line.contains(part))
}

/// What a type must have to implement a trait: what has no default. One a line.
fn required(json: &Path) -> Result<String> {
    let text = fs::read_to_string(json).context("read what rustdoc has written")?;
    let document: Value = serde_json::from_str(&text).context("what rustdoc has written is not JSON")?;
    let index = document.get("index").and_then(Value::as_object).context("rustdoc has written no index")?;
    let mut lines = BTreeSet::new();
    for item in index.values() {
        let (Some(name), Some(members)) = (
            item.get("name").and_then(Value::as_str),
            item.pointer("/inner/trait/items").and_then(Value::as_array),
        ) else {
            continue;
        };
        for member in members.iter().filter_map(|id| index.get(&id.to_string())) {
            let is_free = member.pointer("/inner/function/has_body") == Some(&Value::Bool(true))
                || member.pointer("/inner/assoc_const/value").is_some_and(|value| !value.is_null())
                || member.pointer("/inner/assoc_type/type").is_some_and(|value| !value.is_null());
            if let (false, Some(member)) = (is_free, member.get("name").and_then(Value::as_str)) {
                lines.insert(format!("{REQUIRED}{name}::{member}\n"));
            }
        }
    }
    Ok(lines.into_iter().collect())
}

fn compare<'a>(before: &'a str, now: &'a str) -> Difference<'a> {
    let lines = |text: &'a str| -> BTreeSet<&'a str> {
        text.lines().filter(|line| !line.starts_with("# ") && !line.is_empty()).collect()
    };
    let (before, now) = (lines(before), lines(now));
    let new: Vec<&str> = now.difference(&before).copied().collect();
    let mut breaking: Vec<String> = before
        .difference(&now)
        // What has a default now breaks no code.
        .filter(|line| !line.starts_with(REQUIRED))
        .map(|line| format!("gone: {line}"))
        .collect();
    let enums: BTreeSet<&str> = before.iter().filter_map(|line| exhaustive_enum(line)).collect();
    for line in &new {
        let is_needed_of_an_old_trait = line.strip_prefix(REQUIRED).is_some_and(|member| {
            let name = member.split("::").next().unwrap_or_default();
            before.iter().any(|line| line.starts_with("pub trait ") && has_name(line, name))
        });
        let is_of_an_old_enum = variant_of(line).is_some_and(|parent| enums.contains(parent));
        if is_needed_of_an_old_trait || is_of_an_old_enum {
            breaking.push(format!("new, and needed: {line}"));
        }
    }
    Difference { breaking, new }
}

/// The path of an enum that others may match exhaustively.
fn exhaustive_enum(line: &str) -> Option<&str> {
    let (attributes, path) = line.split_once("pub enum ")?;
    (!attributes.contains("non_exhaustive")).then(|| path.split(['<', ' ']).next().unwrap_or_default())
}

/// The path of the enum that a variant is of. The same holds for a field of a struct, which no enum is called.
fn variant_of(line: &str) -> Option<&str> {
    let path = line.strip_prefix("pub ")?.split(['(', ' ', '{']).next()?;
    let (parent, _) = path.trim_end_matches(':').rsplit_once("::")?;
    Some(parent.split('<').next().unwrap_or_default())
}

/// Whether a line of a trait is about the one of this name.
fn has_name(line: &str, name: &str) -> bool {
    let path = line.trim_start_matches("pub trait ").split([' ', '<']).next().unwrap_or_default();
    path.trim_end_matches(':').rsplit("::").next() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# heading\n#[repr(u8)] pub enum k::Kind\npub k::Kind::Put\npub trait k::Backend: Send\n\
                          pub fn k::Backend::get(&self)\nrequired Backend::get\n#[non_exhaustive] pub enum k::Code\n\
                          pub enum k::call::Reply<T>\npub k::call::Reply::Ready(k::Answer<T>)\n";

    fn breaking(now: &str) -> Vec<String> {
        compare(BEFORE, now).breaking
    }

    #[test]
    fn only_what_breaks_code_of_authors_is_breaking() {
        assert!(breaking(BEFORE).is_empty());
        let with = |line: &str| format!("{BEFORE}{line}\n");
        assert!(breaking(&with("pub fn k::Backend::added(&self)")).is_empty());
        assert_eq!(compare(BEFORE, &with("pub fn k::free()")).new, ["pub fn k::free()"]);
        assert!(breaking(&with("pub k::Code::Added")).is_empty());
        assert!(breaking(&BEFORE.replace("required Backend::get\n", "")).is_empty());

        assert_eq!(breaking(&with("required Backend::added")), ["new, and needed: required Backend::added"]);
        for variant in [
            "pub k::Kind::Added",
            "pub k::Kind::Added(k::version::Version, u8)",
            "pub k::call::Reply::Added(T)",
        ] {
            assert_eq!(breaking(&with(variant)), [format!("new, and needed: {variant}")]);
        }
        let changed = BEFORE.replace("get(&self)", "get(&mut self)");
        assert_eq!(breaking(&changed), ["gone: pub fn k::Backend::get(&self)"]);
        assert_eq!(major_of(&heading("k", 12)), Some(12));
        assert_eq!(major_of(BEFORE), None);
        // A new trait may need what it likes.
        assert!(breaking(&with("pub trait k::Other\nrequired Other::it")).is_empty());
    }
}
