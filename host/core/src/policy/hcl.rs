//! HCL 1, the language of Vault's and OpenBao's policies, as far as data goes: items with keys, and values
//! without expressions.
//!
//! [`lex`] makes tokens of the text, [`tree`] makes items of the tokens. No crate that is kept up reads HCL
//! 1; it differs from HCL 2 in what may stand on one line, in commas, and in quoted keys.
//!
//! It also takes what HCL 2 writes differently, so that policies of earlier versions of Keyway still read:
//! `null`, and `:` between the key and the value of an object. Such a policy is refused only if it has a line
//! break in a quoted text, or an expression as its `name`. It says something else only if it has `$${` or
//! `%%{` in a text, which now stand for themselves, or a number with a leading zero, which is octal now.
//! <https://github.com/hashicorp/hcl/tree/hcl1>

mod lex;
mod tree;

use std::fmt;

use thiserror::Error;

pub(super) use self::tree::{Item, Node, parse};

/// How deep objects and lists may be nested.
const MAX_DEPTH: usize = 32;

/// Where something stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// From 1.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What keeps a text from being HCL.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{at}: {why}")]
pub(super) struct SyntaxError {
    /// Where.
    pub(super) at: Position,
    /// Why.
    pub(super) why: String,
}
