//! The chain of a device: each line holds its number and the SHA-256 of the line before. So a line that was
//! changed, removed or inserted shows. The chain is no signature: an attacker who may write the whole file
//! may write another chain. To detect that, keep the hash of a last line elsewhere.
//!
//! ```text
//! {"time":…,"type":"request",…,"chain":{"line":7,"previous":"5f3c…","missed":2}}
//! ```
//!
//! `line` counts from 1. `previous` is the hash of the bytes of the line before without its newline, in lower
//! hexadecimal; it is empty in the first line of a chain. `missed` says how many lines the device could not
//! write before this one; it is left out if there are none. A piece of a line, which a crash or a full disk
//! has left, counts as a line.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The end of a chain so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// The number of the last line; zero if there is none.
    pub line: u64,
    /// The hash of the last line; empty if there is none.
    pub hash: String,
}

/// A line's place in its chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Link {
    /// The line's number.
    pub line: u64,
    /// The hash of the line before.
    pub previous: String,
    /// How many lines the device could not write before this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
}

#[derive(Deserialize)]
struct Linked {
    chain: Link,
}

impl Chain {
    /// An entry, which is a JSON object, as the next line, with its newline.
    pub(crate) fn next_line(&self, entry: &str, missed: u64) -> String {
        let link = Link { line: self.line + 1, previous: self.hash.clone(), missed };
        let link = serde_json::to_string(&link).expect("a link is plain data");
        let open = entry.strip_suffix('}').unwrap_or(entry);
        format!("{open},\"chain\":{link}}}\n")
    }

    /// The chain after one more line, or a piece of one, without its newline.
    pub fn then(&self, line: &[u8]) -> Self {
        Self { line: self.line + 1, hash: hash(line) }
    }

    /// The chain after a line of a file; none if that is no line of a chain.
    pub fn at(line: &[u8]) -> Option<Self> {
        let link = link(line)?;
        Some(Self { line: link.line, hash: hash(line) })
    }

    /// Whether a line is the next one.
    pub(crate) fn is_followed_by(&self, link: &Link) -> bool {
        link.line == self.line + 1 && link.previous == self.hash
    }
}

/// The place of a line in its chain; none if it has none.
pub fn link(line: &[u8]) -> Option<Link> {
    serde_json::from_slice::<Linked>(line).ok().map(|linked| linked.chain)
}

fn hash(line: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(line))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
