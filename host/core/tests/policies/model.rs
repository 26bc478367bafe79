//! OpenBao's rules as its documentation has them, slow and plain: every pattern is tried, and all that match
//! are compared.

use std::{cmp::Ordering, collections::BTreeMap};

use keyway_core::policy::{AccessQuestion, Operation};
use serde_json::{Map, Value, json};

/// One path of a policy.
#[derive(Debug, Clone)]
pub(crate) struct Stanza {
    pub(crate) pattern: String,
    pub(crate) capabilities: Vec<String>,
    pub(crate) allowed: BTreeMap<String, Vec<Value>>,
    pub(crate) denied: BTreeMap<String, Vec<Value>>,
    pub(crate) required: Vec<String>,
    pub(crate) min_wrapping: u64,
    pub(crate) max_wrapping: u64,
}

impl Stanza {
    pub(crate) fn json(&self) -> (String, Value) {
        let stanza = json!({
            "capabilities": self.capabilities,
            "allowed_parameters": self.allowed,
            "denied_parameters": self.denied,
            "required_parameters": self.required,
            "min_wrapping_ttl": self.min_wrapping,
            "max_wrapping_ttl": self.max_wrapping,
        });
        (self.pattern.clone(), stanza)
    }

    fn denies(&self) -> bool {
        self.capabilities.iter().any(|name| name == "deny")
    }
}

/// All policies of a token.
pub(crate) struct Model<'a>(pub(crate) &'a [Vec<Stanza>]);

impl Model<'_> {
    /// The stanzas of the one pattern that counts: the first that is found. A list asks with the slash at the
    /// end of its path before it asks without, first among the exact patterns, then among the others.
    fn counting(&self, path: &str, is_of_folder: bool) -> Vec<&Stanza> {
        let mut paths = vec![path];
        paths.extend(path.strip_suffix('/').filter(|_| is_of_folder));
        let exact = paths.iter().map(|path| is_exact(path).then_some(*path));
        let best = paths.iter().map(|path| self.best(path));
        let found = exact.chain(best).flatten().map(|pattern| self.of(pattern));
        found.into_iter().find(|stanzas| !stanzas.is_empty()).unwrap_or_default()
    }

    fn of(&self, pattern: &str) -> Vec<&Stanza> {
        self.0.iter().flatten().filter(|stanza| stanza.pattern == pattern).collect()
    }

    fn best(&self, path: &str) -> Option<&str> {
        let patterns = self.0.iter().flatten().map(|stanza| stanza.pattern.as_str());
        let matching = patterns.filter(|pattern| !is_exact(pattern) && matches(pattern, path));
        matching.max_by(|one, other| compare(one, other))
    }

    pub(crate) fn capabilities(&self, path: &str) -> Vec<&'static str> {
        let stanzas = self.counting(path, true);
        let order = ["sudo", "read", "list", "update", "delete", "create", "patch", "scan"];
        let has =
            |name: &&&str| stanzas.iter().any(|stanza| stanza.capabilities.iter().any(|had| had == **name));
        let names: Vec<&str> = order.iter().filter(has).copied().collect();
        if names.is_empty() || stanzas.iter().any(|stanza| stanza.denies()) { vec!["deny"] } else { names }
    }

    pub(crate) fn allows(&self, ask: &AccessQuestion<'_>) -> bool {
        let stanzas = self.counting(ask.path, matches!(ask.operation, Operation::List | Operation::Scan));
        if stanzas.iter().any(|stanza| stanza.denies()) {
            return false;
        }
        let needed = format!("{:?}", ask.operation).to_lowercase();
        if !stanzas.iter().any(|stanza| stanza.capabilities.contains(&needed)) {
            return false;
        }
        let smallest =
            |bound: fn(&Stanza) -> u64| stanzas.iter().map(|stanza| bound(stanza)).filter(|s| *s > 0).min();
        if let Some(max) = smallest(|stanza| stanza.max_wrapping)
            && ask.wrapping_s.is_none_or(|seconds| seconds > max)
        {
            return false;
        }
        if let Some(min) = smallest(|stanza| stanza.min_wrapping)
            && ask.wrapping_s.is_none_or(|seconds| seconds < min)
        {
            return false;
        }
        if matches!(ask.operation, Operation::Delete | Operation::List | Operation::Scan) {
            return true;
        }
        let required = stanzas.iter().flat_map(|stanza| &stanza.required);
        if required.clone().any(|name| !ask.parameters.contains_key(&name.to_lowercase())) {
            return false;
        }
        let given: Map<String, Value> =
            ask.parameters.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        if given.is_empty() {
            return true;
        }
        let denied = united(&stanzas, |stanza| &stanza.denied);
        let allowed = united(&stanzas, |stanza| &stanza.allowed);
        let is_denied = |(name, value): (&String, &Value)| {
            denied.contains_key("*") || denied.get(name).is_some_and(|values| has(values, value))
        };
        let is_allowed = |(name, value): (&String, &Value)| {
            allowed.is_empty()
                || allowed.get(name).map_or_else(|| allowed.contains_key("*"), |values| has(values, value))
        };
        !given.iter().any(is_denied) && given.iter().all(is_allowed)
    }
}

/// Any value, if one says so.
fn united(
    stanzas: &[&Stanza],
    of: fn(&Stanza) -> &BTreeMap<String, Vec<Value>>,
) -> BTreeMap<String, Vec<Value>> {
    let mut all: BTreeMap<String, Vec<Vec<Value>>> = BTreeMap::new();
    for (name, values) in stanzas.iter().flat_map(|stanza| of(stanza)) {
        all.entry(name.to_lowercase()).or_default().push(values.clone());
    }
    all.into_iter()
        .map(|(name, lists)| {
            let any = lists.iter().any(Vec::is_empty);
            (name, if any { Vec::new() } else { lists.concat() })
        })
        .collect()
}

fn has(values: &[Value], value: &Value) -> bool {
    let like = |pattern: &str, text: &str| match pattern {
        "x*" => text.starts_with('x'),
        "*x" => text.ends_with('x'),
        same => same == text,
    };
    values.is_empty()
        || values.iter().any(|listed| match (listed.as_str(), value.as_str()) {
            (Some(pattern), Some(text)) => like(pattern, text),
            _ => listed == value,
        })
}

/// Segment by segment, and the rest if the pattern ends with a star.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('/') {
        Some(("+", rest)) => path.split_once('/').is_some_and(|(_, path)| matches(rest, path)),
        Some((segment, rest)) => {
            path.split_once('/').is_some_and(|(part, path)| part == segment && matches(rest, path))
        }
        None if pattern == "+" => !path.contains('/'),
        None => pattern.strip_suffix('*').map_or(pattern == path, |begin| path.starts_with(begin)),
    }
}

/// Whether a pattern stands for one path only. OpenBao files a pattern with the others by its text: if it
/// ends with a star, or if a `+` follows a slash, or is the first segment.
fn is_exact(pattern: &str) -> bool {
    !pattern.ends_with('*') && !has_wildcard(pattern)
}

fn has_wildcard(pattern: &str) -> bool {
    pattern == "+" || pattern.starts_with("+/") || pattern.contains("/+")
}

/// By the list of OpenBao's documentation, the less specific first.
fn compare(one: &str, other: &str) -> Ordering {
    let first = |pattern: &str| {
        let sign = if has_wildcard(pattern) { '+' } else { '*' };
        pattern.chars().position(|c| c == sign).unwrap()
    };
    let stars = |pattern: &str| pattern.ends_with('*');
    let plusses = |pattern: &str| pattern.split('/').filter(|part| *part == "+").count();
    let bare = |pattern: &str| pattern.strip_suffix('*').unwrap_or(pattern).to_owned();
    first(one)
        .cmp(&first(other))
        .then(stars(other).cmp(&stars(one)))
        .then(plusses(other).cmp(&plusses(one)))
        .then(bare(one).len().cmp(&bare(other).len()))
        .then(bare(one).cmp(&bare(other)))
}
