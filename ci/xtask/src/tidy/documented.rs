//! The operations manual names every setting and every metric.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};

use crate::process::root;

const SETTINGS: &str = "host/server/src/config/file.rs";
const SETTINGS_PAGE: &str = "docs/operations/settings.md";
const MANUAL: &str = "docs/operations/";
/// Fields whose setting has another name in the file, or whose keys are settings themselves.
const RENAMED: [&str; 2] = ["kind", "options"];

/// Texts of the same form that are no metrics: a field of an answer, and a plugin's name in a test.
const NO_METRICS: [&str; 2] = ["keyway_version", "keyway_time_series"];

/// Adds a problem for each setting and metric that no page names.
pub(super) fn check(files: &[String], problems: &mut Vec<String>) -> Result<()> {
    let read = |file: &str| fs::read_to_string(root().join(file)).with_context(|| format!("read {file}"));
    let page = read(SETTINGS_PAGE)?;
    for name in settings(&read(SETTINGS)?) {
        // A setting, or a section with settings.
        let forms = [format!("`{name}`"), format!("`{name}."), format!("[{name}"), format!(".{name}`")];
        if !forms.iter().any(|form| page.contains(form)) {
            problems.push(format!("{SETTINGS_PAGE}: the setting {name:?} of {SETTINGS} is missing"));
        }
    }
    let mut metrics = BTreeSet::new();
    for file in files.iter().filter(|file| file.starts_with("host/") && file.ends_with(".rs")) {
        metrics.extend(metric_names(&read(file)?));
    }
    let mut manual = String::new();
    for file in files.iter().filter(|file| file.starts_with(MANUAL)) {
        manual += &read(file)?;
    }
    for name in metrics.iter().filter(|name| !manual.contains(name.as_str())) {
        problems.push(format!("{MANUAL}: no page names the metric {name}"));
    }
    Ok(())
}

/// The fields of the file's sections.
fn settings(source: &str) -> impl Iterator<Item = &str> {
    let fields =
        source.lines().filter_map(|line| line.trim_start().strip_prefix("pub(super) ")?.split_once(": "));
    fields.map(|(name, _)| name).filter(|name| !RENAMED.contains(name))
}

/// Texts of the form `"keyway_name"`.
fn metric_names(source: &str) -> impl Iterator<Item = String> {
    let texts = source.split('"').filter(|text| text.starts_with("keyway_"));
    let is_name = |text: &&str| {
        !NO_METRICS.contains(text) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    texts.filter(is_name).filter(|text| text.len() > "keyway_".len()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_metrics_are_found_in_sources() {
        let source =
            "struct S {\n    /// Doc.\n    pub(super) drain_s: u32,\n    pub(super) kind: String,\n}\n";
        assert_eq!(settings(source).collect::<Vec<_>>(), ["drain_s"]);
        let source = "metric(\"keyway_unsealed\", \"keyway_\", \"keyway_api::service\", \"other\")";
        assert_eq!(metric_names(source).collect::<Vec<_>>(), ["keyway_unsealed"]);
    }
}
