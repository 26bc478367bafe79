//! What a set of policies allows: a pure function of their rules and the request.
//!
//! By OpenBao's rules: a pattern without wildcards that is the path itself comes first. Else the most specific pattern counts
//! alone: the one whose first wildcard comes later; then one without `*` at its end; then one with fewer `+`; then the longer;
//! then the one that sorts behind. Only within one and the same pattern do the capabilities of several policies unite, and
//! there `deny` wins.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use super::{
    Policy, ROOT,
    rule::{Capabilities, Parameters, Permissions},
};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading.
    Read,
    /// Writing what is not there.
    Create,
    /// Writing what is there.
    Update,
    /// Changing parts of what is there.
    Patch,
    /// Deleting.
    Delete,
    /// Listing.
    List,
    /// Listing all folders below.
    Scan,
}

impl Operation {
    /// Whether its path is a folder: the rules for the slash at the end of the path are those of lists.
    pub const fn is_of_folder(self) -> bool {
        matches!(self, Self::List | Self::Scan)
    }
}

/// A request, as far as policies look at it.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What is asked for.
    pub operation: Operation,
    /// Its path after `/v1/`; that of a list or a scan ends with a slash.
    pub path: &'a str,
    /// Its parameters: the fields of its body, or of its query where it reads.
    pub parameters: &'a Map<String, Value>,
    /// For how many seconds its answer is to be wrapped; none is not at all.
    pub wrapping_s: Option<u64>,
}

/// The rules of a set of policies.
#[derive(Debug, Clone, Default)]
pub struct Acl {
    is_root: bool,
    exact: BTreeMap<String, Permissions>,
    /// By path without the `*`.
    prefixes: BTreeMap<String, Permissions>,
    /// By path without the `*`, and whether there was one.
    segments: BTreeMap<(String, bool), Permissions>,
}

/// How specific a pattern is, most specific last.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Precedence<'a> {
    first_wildcard: usize,
    is_whole: bool,
    wildcards: Reverse<usize>,
    length: usize,
    path: &'a str,
}

impl Acl {
    /// The rules of these policies together.
    pub fn new<'p>(policies: impl IntoIterator<Item = &'p Arc<Policy>>) -> Self {
        let mut acl = Self::default();
        for policy in policies {
            acl.is_root |= policy.name == ROOT;
            for rule in &policy.rules {
                let present = if rule.has_wildcard_segment() {
                    acl.segments
                        .entry((rule.path.clone(), rule.is_prefix))
                        .and_modify(|present| present.unite(&rule.permissions))
                        .or_insert_with(|| rule.permissions.clone())
                } else {
                    let rules = if rule.is_prefix { &mut acl.prefixes } else { &mut acl.exact };
                    rules
                        .entry(rule.path.clone())
                        .and_modify(|present| present.unite(&rule.permissions))
                        .or_insert_with(|| rule.permissions.clone())
                };
                if present.capabilities.has(Capabilities::DENY) {
                    *present = Permissions { capabilities: Capabilities::DENY, ..Permissions::default() };
                }
            }
        }
        acl
    }

    /// Whether it allows everything.
    pub fn is_root(&self) -> bool {
        self.is_root
    }

    /// The permissions at a path; none where no pattern matches it.
    pub fn permissions(&self, path: &str, is_list: bool) -> Option<&Permissions> {
        let path = path.trim_start_matches('/');
        if let Some(exact) = self.exact.get(path) {
            return Some(exact);
        }
        let folder = path.strip_suffix('/').filter(|_| is_list);
        if let Some(folder) = folder
            && let Some(found) = self.exact.get(folder).or_else(|| self.by_pattern(folder))
        {
            return Some(found);
        }
        self.by_pattern(path)
    }

    /// The capabilities at a path; none for those who may do everything.
    pub fn capabilities(&self, path: &str) -> Option<Capabilities> {
        if self.is_root {
            return None;
        }
        Some(self.permissions(path, true).map(|found| found.capabilities).unwrap_or_default())
    }

    /// Whether administrators' capability is there.
    pub fn has_sudo(&self, path: &str, is_list: bool) -> bool {
        self.is_root
            || self.permissions(path, is_list).is_some_and(|found| found.capabilities.has(Capabilities::SUDO))
    }

    /// Whether an operation can be allowed at a path, apart from what its request holds.
    pub fn may(&self, operation: Operation, path: &str) -> bool {
        let found = || self.permissions(path, operation.is_of_folder());
        self.is_root || found().is_some_and(|found| found.grant(operation))
    }

    /// Whether it depends on parameters what is allowed at a path.
    pub fn looks_at_parameters(&self, path: &str) -> bool {
        let found = self.permissions(path, false);
        found.is_some_and(|found| {
            !(found.allowed.is_empty() && found.denied.is_empty() && found.required.is_empty())
        })
    }

    /// Whether anything is allowed at a path, or at one that begins with it.
    pub fn allows_anything_below(&self, folder: &str) -> bool {
        let is_allowed = |permissions: &Permissions| {
            permissions.capabilities != Capabilities::NONE
                && !permissions.capabilities.has(Capabilities::DENY)
        };
        let meets = |pattern: &str, is_prefix: bool| {
            pattern.starts_with(folder) || (is_prefix && folder.starts_with(pattern))
        };
        let of_segments = |pattern: &str| {
            let pairs = pattern.split('/').zip(folder.trim_end_matches('/').split('/'));
            pairs.into_iter().all(|(segment, part)| segment == "+" || segment == part)
        };
        self.is_root
            || self.exact.iter().any(|(path, found)| meets(path, false) && is_allowed(found))
            || self.prefixes.iter().any(|(path, found)| meets(path, true) && is_allowed(found))
            || self.segments.iter().any(|((path, _), found)| of_segments(path) && is_allowed(found))
    }

    /// Whether the request is allowed.
    pub fn allows(&self, ask: &Ask<'_>) -> bool {
        if self.is_root {
            return true;
        }
        let Some(found) = self.permissions(ask.path, ask.operation.is_of_folder()) else { return false };
        found.allow(ask)
    }

    fn by_pattern(&self, path: &str) -> Option<&Permissions> {
        let prefix = self.longest_prefix(path).map(|(prefix, permissions)| {
            let precedence = Precedence {
                first_wildcard: prefix.len(),
                is_whole: false,
                wildcards: Reverse(0),
                length: prefix.len(),
                path: prefix,
            };
            (precedence, permissions)
        });
        let parts: Vec<&str> = path.split('/').collect();
        let matching =
            self.segments.iter().filter(|((pattern, is_prefix), _)| matches(pattern, *is_prefix, &parts));
        let segments = matching.map(|((pattern, is_prefix), permissions)| {
            let wildcards = pattern.split('/').filter(|segment| *segment == "+").count();
            let precedence = Precedence {
                first_wildcard: first_wildcard(pattern),
                is_whole: !is_prefix,
                wildcards: Reverse(wildcards),
                length: pattern.len(),
                path: pattern,
            };
            (precedence, permissions)
        });
        prefix
            .into_iter()
            .chain(segments)
            .max_by(|(one, _), (other, _)| one.cmp(other))
            .map(|(_, permissions)| permissions)
    }

    fn longest_prefix(&self, path: &str) -> Option<(&str, &Permissions)> {
        if self.prefixes.is_empty() {
            return None;
        }
        let mut ends = path.char_indices().map(|(at, _)| at).chain([path.len()]).collect::<Vec<_>>();
        ends.reverse();
        ends.into_iter().find_map(|end| {
            self.prefixes.get_key_value(path.get(..end)?).map(|(prefix, found)| (prefix.as_str(), found))
        })
    }
}

/// Where the first segment that stands for any one begins.
fn first_wildcard(pattern: &str) -> usize {
    let mut at = 0;
    for segment in pattern.split('/') {
        if segment == "+" {
            return at;
        }
        at += segment.len() + 1;
    }
    pattern.len()
}

fn matches(pattern: &str, is_prefix: bool, parts: &[&str]) -> bool {
    let segments: Vec<&str> = pattern.split('/').collect();
    if segments.len() > parts.len() || (!is_prefix && segments.len() != parts.len()) {
        return false;
    }
    let last = segments.len() - 1;
    segments.iter().zip(parts).enumerate().all(|(index, (segment, part))| {
        *segment == "+" || segment == part || (is_prefix && index == last && part.starts_with(segment))
    })
}

impl Permissions {
    fn grant(&self, operation: Operation) -> bool {
        let needed = match operation {
            Operation::Read => Capabilities::READ,
            Operation::Create => Capabilities::CREATE,
            Operation::Update => Capabilities::UPDATE,
            Operation::Patch => Capabilities::PATCH,
            Operation::Delete => Capabilities::DELETE,
            Operation::List => Capabilities::LIST,
            Operation::Scan => Capabilities::SCAN,
        };
        !self.capabilities.has(Capabilities::DENY) && self.capabilities.has(needed)
    }

    fn allow(&self, ask: &Ask<'_>) -> bool {
        self.grant(ask.operation)
            && self.allow_wrapping(ask.wrapping_s)
            && (matches!(ask.operation, Operation::Delete | Operation::List | Operation::Scan)
                || self.allow_parameters(ask.parameters))
    }

    fn allow_wrapping(&self, wrapping_s: Option<u64>) -> bool {
        let (min, max) = (self.min_wrapping_s, self.max_wrapping_s);
        if min == 0 && max == 0 {
            return true;
        }
        // Two policies together may leave no duration that suits both.
        wrapping_s.is_some_and(|seconds| (max == 0 || seconds <= max) && seconds >= min)
    }

    fn allow_parameters(&self, given: &Map<String, Value>) -> bool {
        let given: Vec<(String, &Value)> =
            given.iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let has = |required: &String| given.iter().any(|(name, _)| name == required);
        if !self.required.iter().all(has) {
            return false;
        }
        if given.is_empty() {
            return true;
        }
        if self.denied.contains_key("*") {
            return false;
        }
        let is_denied = |(name, value): &(String, &Value)| {
            self.denied.get(name).is_some_and(|values| is_among(value, values))
        };
        if given.iter().any(is_denied) {
            return false;
        }
        if self.allowed.is_empty() {
            return true;
        }
        let takes_others = self.allowed.contains_key("*");
        given.iter().all(|(name, value)| match listed(&self.allowed, name) {
            Some(values) => is_among(value, values),
            None => takes_others,
        })
    }
}

fn listed<'p>(parameters: &'p Parameters, name: &str) -> Option<&'p Vec<Value>> {
    parameters.get(name).filter(|_| name != "*")
}

/// Whether a value is in a list, in which text may have a `*` at its beginning and its end; an empty list has all.
fn is_among(value: &Value, values: &[Value]) -> bool {
    values.is_empty()
        || values.iter().any(|listed| match (listed, value) {
            (Value::String(pattern), Value::String(text)) => is_like(text, pattern),
            _ => listed == value,
        })
}

/// Whether a text is like a pattern with a `*` at its beginning, its end, or both. A `*` alone is itself, as OpenBao has it.
pub fn is_like(text: &str, pattern: &str) -> bool {
    if pattern.len() < 2 {
        return text == pattern;
    }
    let (end, begin) = (pattern.strip_prefix('*'), pattern.strip_suffix('*'));
    match (end, begin) {
        (Some(end), Some(_)) => end.strip_suffix('*').is_some_and(|part| text.contains(part)),
        (Some(end), None) => text.ends_with(end),
        (None, Some(begin)) => text.starts_with(begin),
        (None, None) => text == pattern,
    }
}
