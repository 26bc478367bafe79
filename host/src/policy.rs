//! Policies: who may do what, decided as OpenBao decides it.
//!
//! [`parse`] reads what an author wrote, [`hcl`] or JSON, and refuses what is not supported; [`rule`] is what it means; [`acl`]
//! decides for a set of policies, as a pure function; [`spike`] makes the same rules of SPIKE's policies; [`store`] keeps them.

pub mod acl;
mod builtin;
mod hcl;
pub mod parse;
pub mod rule;
pub mod spike;
pub mod store;

pub use self::{
    acl::{Acl, Ask, Operation},
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

/// A policy's name as it is stored: in lower case.
///
/// # Errors
///
/// A line that says what is wrong with it.
pub fn name(text: &str) -> Result<String, String> {
    let has_blank_end = text.trim() != text;
    if text.is_empty() || text.len() > MAX_NAME_BYTES || has_blank_end {
        return Err(format!("a policy's name has 1 to {MAX_NAME_BYTES} bytes and no blanks at its ends"));
    }
    if text.chars().any(|c| c.is_control() || matches!(c, '/' | ',')) {
        return Err("a policy's name has no slashes, commas and control characters".to_owned());
    }
    Ok(text.to_lowercase())
}
