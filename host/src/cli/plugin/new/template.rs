//! The files of the template, and which of them a project has.
//!
//! The template is `plugin-template/`, for `cargo generate`. It uses what Liquid and Jinja have in common: `if` blocks,
//! variables, and one filter.

use heck::ToKebabCase as _;
use minijinja::{Environment, Error, context, syntax::SyntaxConfig};

/// Includes files of the template by their paths.
macro_rules! files {
    ($($path:literal),+ $(,)?) => {
        [$(($path, include_str!(concat!("../../../../../plugin-template/", $path)))),+]
    };
}

const FILES: [(&str, &str); 29] = files![
    ".github/workflows/ci.yml",
    ".gitignore",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "config.schema.json",
    "examples/fake_server.rs",
    "rustfmt.toml",
    "src/lib.rs",
    "src/log.rs",
    "src/log_async.rs",
    "src/log_blocking.rs",
    "src/log_changes.rs",
    "src/log_disk.rs",
    "src/log_file.rs",
    "src/map.rs",
    "src/map_async.rs",
    "src/map_blocking.rs",
    "src/network.rs",
    "src/network_client.rs",
    "src/network_protocol.rs",
    "src/sql.rs",
    "src/sql_reader.rs",
    "src/sql_tables.rs",
    "src/sql_writer.rs",
    "tests/common/fake_server.rs",
    "tests/config.rs",
    "tests/conformance.rs",
    "tests/loaded.rs",
];

/// What the template is told.
#[derive(Debug)]
pub(super) struct Choices {
    pub(super) crate_name: String,
    pub(super) store: &'static str,
    pub(super) calls: &'static str,
    pub(super) keyway: String,
}

/// The files of a project, with their texts.
pub(super) fn render(choices: &Choices) -> Result<Vec<(&'static str, String)>, Error> {
    let mut environment = Environment::empty();
    environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build()?);
    environment.add_filter("kebab_case", |text: String| text.to_kebab_case());
    let Choices { crate_name, store, calls, keyway } = choices;
    let told = context! { crate_name, store => *store, calls => *calls, keyway };
    let files = FILES.iter().filter(|(path, _)| is_wanted(path, choices));
    files.map(|(path, text)| Ok((*path, environment.render_str(text, told.clone())?))).collect()
}

/// What `cargo-generate.toml` says in `conditional`.
fn is_wanted(path: &str, choices: &Choices) -> bool {
    let name = path.strip_prefix("src/").and_then(|name| name.strip_suffix(".rs"));
    let Some(name) = name.filter(|name| *name != "lib") else {
        return choices.store == "network" || !path.ends_with("fake_server.rs");
    };
    let mut words = name.split('_');
    if words.next() != Some(choices.store) {
        return false;
    }
    match words.next() {
        Some(calls @ ("async" | "blocking")) => calls == choices.calls,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn files_in(directory: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_in(&path, root, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_file_of_the_template_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-template");
        let mut found = BTreeSet::new();
        files_in(&root, &root, &mut found);
        // For cargo-generate alone.
        assert!(found.remove("cargo-generate.toml") && found.remove("check.rhai"));
        assert_eq!(found, FILES.iter().map(|(path, _)| (*path).to_owned()).collect());
    }
}
