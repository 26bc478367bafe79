//! Policies: who may do what, decided as OpenBao decides it.
//!
//! [`parse`] reads an author's text, [`hcl`] or JSON, and refuses anything that is not supported; [`rule`]
//! has the resulting rules. [`acl`] decides for a set of policies, as a pure function; [`spike`] makes the
//! same rules from SPIKE's policies; [`store`] keeps them.

pub mod acl;
mod builtin;
mod hcl;
pub mod parse;
pub mod rule;
pub mod spike;
pub mod store;

pub use self::{
    acl::{AccessQuestion, Acl, Operation},
    rule::{Capabilities, PathRule, Permissions},
    store::{Policies, PolicyError},
};

/// The policy that may do everything. It has no rules, and cannot be written.
pub const ROOT: &str = "root";
/// The policy that every token has unless it is made without.
pub const DEFAULT: &str = "default";

/// A policy that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What it is called.
    pub name: String,
    /// What it says.
    pub rules: Vec<PathRule>,
}

/// The policy of the tokens of wrappings. It cannot be written, and no other token has it.
pub const RESPONSE_WRAPPING: &str = "response-wrapping";

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// A policy's name as it is stored: in lower case. It may have several segments, as `team/app`.
///
/// # Errors
///
/// A line that says why the name is refused.
pub fn name(text: &str) -> Result<String, String> {
    let has_blank_end = text.trim() != text;
    if text.is_empty() || text.len() > MAX_NAME_BYTES || has_blank_end {
        return Err(format!("a policy's name has 1 to {MAX_NAME_BYTES} bytes and no blanks at its ends"));
    }
    if text.chars().any(|c| c.is_control() || c == ',') {
        return Err("a policy's name has no commas and control characters".to_owned());
    }
    if text.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("a policy's name has no empty and no dot segments".to_owned());
    }
    Ok(text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_have_segments_and_count_in_lower_case() {
        for (text, read) in [("app", "app"), ("Team/App", "team/app"), ("a/b/c", "a/b/c"), ("a b", "a b")] {
            assert_eq!(name(text).unwrap(), read);
        }
        for text in ["", "/", "/a", "a/", "a//b", ".", "a/..", "a/./b", "a,b", " a", "a\n", &"x".repeat(129)]
        {
            assert!(name(text).is_err(), "{text:?}");
        }
    }
}
