//! The intended differences, `differences.toml`: what Keyway does instead, and why.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{LazyLock, Mutex},
};

use serde::Deserialize;

use crate::compare::Difference;

/// The whole list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Differences {
    pub(crate) difference: Vec<Intended>,
}

impl Differences {
    fn lines(&self) -> impl Iterator<Item = (Seen, &String)> {
        self.difference.iter().flat_map(|one| one.lines.iter().map(|line| (one.seen, line)))
    }
}

/// One intended difference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Intended {
    /// The heading that it stands under in the document.
    pub(crate) area: String,
    pub(crate) what: String,
    pub(crate) why: String,
    /// The test that shows it, and fails if it is no longer there.
    pub(crate) seen: Seen,
    /// `METHOD PATH PLACE openbao=VALUE keyway=VALUE`, where `*` stands for anything.
    pub(crate) lines: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Seen {
    Tables,
    Fields,
    Policies,
    Clients,
}

pub(crate) static DIFFERENCES: LazyLock<Differences> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("differences.toml");
    let text = fs::read_to_string(path).expect("read differences.toml");
    toml::from_str(&text).expect("differences.toml has the form of `Differences`")
});

/// Which lines of the list have matched.
#[derive(Debug, Default)]
pub(crate) struct Matched(Mutex<BTreeSet<&'static str>>);

impl Matched {
    /// The differences that are not on the list.
    pub(crate) fn unintended(&self, request: &str, found: Vec<Difference>) -> Vec<Difference> {
        found.into_iter().filter(|difference| !self.is_intended(&format!("{request} {difference}"))).collect()
    }

    pub(crate) fn is_intended(&self, text: &str) -> bool {
        let lines = DIFFERENCES.lines().map(|(_, line)| line.as_str());
        let matching: Vec<&str> = lines.filter(|line| matches(line, text)).collect();
        self.0.lock().expect("no test has panicked here").extend(&matching);
        !matching.is_empty()
    }

    /// The lines that this test should have matched and has not.
    pub(crate) fn stale(&self, seen: Seen) -> Vec<&'static str> {
        let matched = self.0.lock().expect("no test has panicked here");
        let lines = DIFFERENCES.lines().filter(|(by, _)| *by == seen).map(|(_, line)| line.as_str());
        lines.filter(|line| !matched.contains(line)).collect()
    }
}

/// Whether a pattern with `*` matches a whole text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            rest.is_empty()
                || text.char_indices().any(|(at, _)| matches(rest, &text[at..]))
                || matches(rest, "")
        }),
    }
}

#[test]
fn pattern_matches_with_stars_anywhere() {
    for (pattern, text, expected) in [
        ("a*c", "abc", true),
        ("a*c", "ab", false),
        ("*", "", true),
        ("a*b*", "axbyb", true),
        ("a", "ab", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}
