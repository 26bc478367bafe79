//! The conditions of the rule that counts, besides the path: the operation, the wrapping of the answer, the
//! parameters.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{AccessQuestion, Operation};
use crate::policy::rule::{Capabilities, Permissions};

impl Permissions {
    pub(super) fn grant(&self, operation: Operation) -> bool {
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

    pub(super) fn allow(&self, ask: &AccessQuestion<'_>) -> bool {
        self.grant(ask.operation)
            && self.allow_wrapping(ask.wrapping_s)
            && (matches!(ask.operation, Operation::Delete | Operation::List | Operation::Scan)
                || self.allow_parameters(ask.parameters))
    }

    fn allow_wrapping(&self, wrapping_s: Option<u64>) -> bool {
        let (min, max) = (self.min_wrapping, self.max_wrapping);
        if min.is_zero() && max.is_zero() {
            return true;
        }
        // Two policies together may leave no duration that suits both.
        let wrapping = wrapping_s.map(Duration::from_secs);
        wrapping.is_some_and(|time| (max.is_zero() || time <= max) && time >= min)
    }

    fn allow_parameters(&self, given: &Map<String, Value>) -> bool {
        if !self.required.iter().all(|name| given.contains_key(name)) {
            return false;
        }
        let given: Vec<(String, &Value)> =
            given.iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
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
        if takes_others && self.allowed.len() == 1 {
            return true;
        }
        given.iter().all(|(name, value)| match self.allowed.get(name) {
            Some(values) => is_among(value, values),
            None => takes_others,
        })
    }
}

/// Whether a value is in a list, in which text may have a `*` at its beginning and its end; an empty list has all.
fn is_among(value: &Value, values: &[Value]) -> bool {
    values.is_empty()
        || values.iter().any(|listed| match (listed, value) {
            (Value::String(pattern), Value::String(text)) => is_like(text, pattern),
            _ => listed == value,
        })
}

/// Whether a text is like a pattern with a `*` at its beginning, its end, or both. A `*` alone is itself, as
/// OpenBao has it.
fn is_like(text: &str, pattern: &str) -> bool {
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
