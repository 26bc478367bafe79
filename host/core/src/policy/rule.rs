//! What a policy says of one pattern of paths.

use std::{collections::BTreeMap, fmt, ops::BitOr, time::Duration};

use serde_json::Value;

/// What may be done at a path.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(u16);

impl Capabilities {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Nothing, even if other policies allow something for the same pattern.
    pub const DENY: Self = Self(1);
    /// Writing something new.
    pub const CREATE: Self = Self(1 << 1);
    /// Reading.
    pub const READ: Self = Self(1 << 2);
    /// Writing something that exists.
    pub const UPDATE: Self = Self(1 << 3);
    /// Deleting.
    pub const DELETE: Self = Self(1 << 4);
    /// Listing names.
    pub const LIST: Self = Self(1 << 5);
    /// An administrator's operation. It is needed in addition to the path's usual capability.
    pub const SUDO: Self = Self(1 << 6);
    /// Changing parts of something that exists.
    pub const PATCH: Self = Self(1 << 7);
    /// Listing names in all folders below.
    pub const SCAN: Self = Self(1 << 8);

    /// Their names, in the order in which OpenBao tells them.
    const NAMES: [(&'static str, Self); 9] = [
        ("sudo", Self::SUDO),
        ("read", Self::READ),
        ("list", Self::LIST),
        ("update", Self::UPDATE),
        ("delete", Self::DELETE),
        ("create", Self::CREATE),
        ("patch", Self::PATCH),
        ("scan", Self::SCAN),
        ("deny", Self::DENY),
    ];

    /// The capability of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, capability)| *capability)
    }

    /// These and others.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among them.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Their names; `deny` if nothing is allowed.
    pub fn names(self) -> Vec<&'static str> {
        let allowed = |(_, capability): &&(&str, Self)| *capability != Self::DENY && self.has(*capability);
        let names: Vec<_> = Self::NAMES.iter().filter(allowed).map(|(name, _)| *name).collect();
        if self.has(Self::DENY) || names.is_empty() { vec!["deny"] } else { names }
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join("|"))
    }
}

/// Values that a parameter may have, or may not, by its name in lower case; an empty list is any value.
pub type Parameters = BTreeMap<String, Vec<Value>>;

/// The capabilities, and their conditions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Permissions {
    /// What may be done.
    pub capabilities: Capabilities,
    /// The only parameters that a request may have; empty is any.
    pub allowed: Parameters,
    /// Parameters that a request may not have.
    pub denied: Parameters,
    /// Parameters that a request must have, in lower case.
    pub required: Vec<String>,
    /// The answer must be wrapped for this long at least; zero is no bound.
    pub min_wrapping: Duration,
    /// The answer must be wrapped, and for this long at most; zero is no bound.
    pub max_wrapping: Duration,
}

/// A pattern of paths, and the permissions there.
#[derive(Debug, Clone, PartialEq)]
pub struct PathRule {
    /// The pattern, without the `*` at its end.
    pub path: String,
    /// Whether it is for all paths that begin like this.
    pub is_prefix: bool,
    /// The permissions.
    pub permissions: Permissions,
}

impl PathRule {
    /// Whether OpenBao counts the pattern among those with wildcards in their segments: a `+` follows a
    /// slash, even if the segment goes on after it, or is the first segment.
    pub(crate) fn has_wildcard_segment(&self) -> bool {
        self.path == "+" || self.path.starts_with("+/") || self.path.contains("/+")
    }
}

impl Permissions {
    /// Unites what another policy says of the same pattern.
    pub(super) fn unite(&mut self, other: &Self) {
        if self.capabilities.has(Capabilities::DENY) {
            return;
        }
        if other.capabilities.has(Capabilities::DENY) {
            *self = Self { capabilities: Capabilities::DENY, ..Self::default() };
            return;
        }
        self.capabilities = self.capabilities | other.capabilities;
        // The shorter of both, so that nothing lives longer than some policy says.
        let shorter = |one: Duration, two: Duration| {
            if one.is_zero() || two.is_zero() { one.max(two) } else { one.min(two) }
        };
        self.max_wrapping = shorter(self.max_wrapping, other.max_wrapping);
        self.min_wrapping = shorter(self.min_wrapping, other.min_wrapping);
        unite_parameters(&mut self.allowed, &other.allowed);
        unite_parameters(&mut self.denied, &other.denied);
        let missing = other.required.iter().filter(|name| !self.required.contains(name));
        let missing: Vec<String> = missing.cloned().collect();
        self.required.extend(missing);
    }
}

/// Any value, if one of both says so; otherwise the values of both.
fn unite_parameters(one: &mut Parameters, other: &Parameters) {
    for (name, values) in other {
        match one.get_mut(name) {
            None => drop(one.insert(name.clone(), values.clone())),
            Some(present) if present.is_empty() || values.is_empty() => present.clear(),
            Some(present) => present.extend(values.iter().cloned()),
        }
    }
}
