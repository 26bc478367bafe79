//! A library that builds no test program has no tests, and one whose examples are not run has none.

use std::fs;

use anyhow::{Context, Result};

use crate::process::root;

/// Adds a problem for each test or example that no command would run.
pub(super) fn check(files: &[String], problems: &mut Vec<String>) -> Result<()> {
    for manifest in files.iter().filter(|file| file.ends_with("Cargo.toml")) {
        let text = read(manifest)?;
        let library =
            text.split("[lib]").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap_or_default();
        let program =
            text.split("[[bin]]").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap_or_default();
        // The sources of a program without a library are tested with the program, or not at all.
        let has_library =
            files.contains(&manifest.replace("Cargo.toml", "src/lib.rs")) || text.contains("[lib]\n");
        let has_no_tests =
            library.contains("\ntest = false") || (!has_library && program.contains("\ntest = false"));
        let has_no_examples = library.contains("doctest = false");
        if !has_no_tests && !has_no_examples {
            continue;
        }
        let directory = manifest.trim_end_matches("Cargo.toml");
        // A library beside its manifest has one file; the directories beneath it are other packages.
        let sources = if library.contains("path = \"lib.rs\"") { "lib.rs" } else { "src/" };
        for file in files.iter().filter(|file| file.ends_with(".rs")) {
            if !file.strip_prefix(directory).is_some_and(|rest| rest.starts_with(sources)) {
                continue;
            }
            let text = read(file)?;
            let is_test = |line: &str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            if has_no_tests && text.lines().any(|line| is_test(line.trim_start())) {
                problems.push(format!("{file}: has tests, and {manifest} says `test = false`"));
            }
            if has_no_examples && has_example(&text) {
                problems.push(format!("{file}: has examples, and {manifest} says `doctest = false`"));
            }
        }
    }
    Ok(())
}

/// Whether the documentation has a block of code that rustdoc would run.
fn has_example(text: &str) -> bool {
    let mut is_open = false;
    for line in text.lines().map(str::trim_start) {
        let Some(word) = line.strip_prefix("/// ```").or_else(|| line.strip_prefix("//! ```")) else {
            continue;
        };
        let is_rust = ["", "rust", "no_run", "should_panic", "compile_fail"].contains(&word);
        if !is_open && is_rust {
            return true;
        }
        is_open = !is_open;
    }
    false
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| format!("read {file}"))
}
