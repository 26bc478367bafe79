//! What a set of policies allows: a pure function of their rules and the request.
//!
//! By OpenBao's rules: a pattern without wildcards that is the path itself comes first. Else the most
//! specific pattern counts alone: the one whose first wildcard comes later; then one without `*` at its end;
//! then one with fewer `+`; then the longer; then the one that sorts after the others. The path of a list
//! ends with a slash. It is looked for with the slash and then without it, first among the patterns without
//! wildcards, then among the others. Only within one and the same pattern do the capabilities of several
//! policies unite, and there `deny` wins.
//!
//! [`conditions`] checks the other conditions of the rule that counts; [`below`] tells whether anything is
//! allowed below a mount.

mod below;
mod conditions;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use super::{
    Policy, ROOT,
    rule::{Capabilities, Permissions},
};

/// The operation of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading.
    Read,
    /// Writing something new.
    Create,
    /// Writing something that exists.
    Update,
    /// Changing parts of something that exists.
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
pub struct AccessQuestion<'a> {
    /// The operation.
    pub operation: Operation,
    /// Its path after `/v1/`; that of a list or a scan ends with a slash.
    pub path: &'a str,
    /// Its parameters: the fields of its body, or of its query if it reads.
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

    /// The permissions at a path; none if no pattern matches it.
    pub fn permissions(&self, path: &str, is_list: bool) -> Option<&Permissions> {
        let path = path.trim_start_matches('/');
        let folder = path.strip_suffix('/').filter(|_| is_list);
        let exact = || self.exact.get(path).or_else(|| self.exact.get(folder?));
        // With the slash first, so that a rule for the contents of a folder counts before one for all
        // folders.
        exact().or_else(|| self.by_pattern(path)).or_else(|| self.by_pattern(folder?))
    }

    /// The capabilities at a path; none for root, which may do everything.
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

    /// Whether the rule at a path looks at parameters.
    pub fn looks_at_parameters(&self, path: &str) -> bool {
        let found = self.permissions(path, false);
        found.is_some_and(|found| {
            !(found.allowed.is_empty() && found.denied.is_empty() && found.required.is_empty())
        })
    }

    /// The rules for single paths, by path.
    pub fn exact_rules(&self) -> impl Iterator<Item = (&str, &Permissions)> {
        self.exact.iter().map(|(path, permissions)| (path.as_str(), permissions))
    }

    /// The rules for all paths that begin alike, by how these begin.
    pub fn prefix_rules(&self) -> impl Iterator<Item = (&str, &Permissions)> {
        self.prefixes.iter().map(|(path, permissions)| (path.as_str(), permissions))
    }

    /// Whether the request is allowed.
    pub fn allows(&self, ask: &AccessQuestion<'_>) -> bool {
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
                // OpenBao takes the first plus, even one within a segment.
                first_wildcard: pattern.find('+').unwrap_or(pattern.len()),
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
