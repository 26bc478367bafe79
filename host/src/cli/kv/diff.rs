//! `keyway kv diff`: what differs between two versions. Values are shown only if that was asked for.

use keyway_terminal::output::{Format, cell, print};
use serde::Serialize;

use super::{
    fields::{Fields, plain},
    get::read,
    path::locate,
};
use crate::cli::{client::Client, failure::Failure};

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    field: String,
    change: Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Added,
    Removed,
    Changed,
}

pub(super) fn run(
    client: &Client,
    path: &str,
    from: Option<u64>,
    to: Option<u64>,
    values: bool,
    format: Format,
) -> Result<(), Failure> {
    let located = locate(client, path)?;
    located.require_version_2("versions")?;
    let newer = read(client, &located, path, to)?;
    let newest =
        newer.metadata.as_ref().and_then(|metadata| metadata["version"].as_u64()).unwrap_or_default();
    let from = match from {
        Some(from) => from,
        None if newest > 1 => newest - 1,
        None => {
            return Err(Failure::NotFound(format!("{path} has one version, and nothing to compare it with")));
        }
    };
    let older = read(client, &located, path, Some(from))?;
    let differences = differences(&older.fields, &newer.fields, values);
    let json = serde_json::json!({ "path": path, "from": from, "to": newest, "differences": differences });
    print(format, &json, || describe(path, from, newest, &differences))?;
    Ok(())
}

fn differences(older: &Fields, newer: &Fields, values: bool) -> Vec<Difference> {
    let shown = |value: &serde_json::value::RawValue| values.then(|| plain(value));
    let find = |fields: &'_ Fields, name: &str| fields.0.iter().position(|(known, _)| known == name);
    let mut differences = Vec::new();
    for (name, value) in &older.0 {
        let now = find(newer, name).and_then(|index| newer.0.get(index)).map(|(_, value)| value);
        let (change, to) = match now {
            None => (Change::Removed, None),
            Some(now) if now.get() == value.get() => continue,
            Some(now) => (Change::Changed, shown(now)),
        };
        differences.push(Difference { field: name.clone(), change, from: shown(value), to });
    }
    for (name, value) in newer.0.iter().filter(|(name, _)| find(older, name).is_none()) {
        differences.push(Difference {
            field: name.clone(),
            change: Change::Added,
            from: None,
            to: shown(value),
        });
    }
    differences
}

fn describe(path: &str, from: u64, to: u64, differences: &[Difference]) -> String {
    let mut text = format!("{path}: version {from} to {to}\n");
    if differences.is_empty() {
        text.push_str("They are the same.\n");
    }
    for Difference { field, change, from, to } in differences {
        let mark = match change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed => '~',
        };
        text.push_str(&format!("{mark} {}", cell(field)));
        match (from.as_deref().map(cell), to.as_deref().map(cell)) {
            (Some(from), Some(to)) => text.push_str(&format!(": {from} -> {to}")),
            (Some(one), None) | (None, Some(one)) => text.push_str(&format!(": {one}")),
            (None, None) => {}
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn differences_are_told_with_values_only_where_asked() {
        let (older, newer) = (fields(r#"{"a":1,"b":"x","c":"y"}"#), fields(r#"{"b":"z","c":"y","d":2}"#));
        let hidden = describe("s", 1, 2, &differences(&older, &newer, false));
        assert_eq!(hidden, "s: version 1 to 2\n- a\n~ b\n+ d\n");
        let shown = describe("s", 1, 2, &differences(&older, &newer, true));
        assert_eq!(shown, "s: version 1 to 2\n- a: 1\n~ b: x -> z\n+ d: 2\n");
        assert!(differences(&older, &older, true).is_empty());
    }
}
