//! The policies of a token.

use crate::policy::{DEFAULT, ROOT};

/// These policies in order, each once; `default` is added or not, and `root` stands alone.
pub(super) fn in_order(mut policies: Vec<String>, adds_default: bool) -> Vec<String> {
    if policies.iter().any(|policy| policy == ROOT) {
        return vec![ROOT.to_owned()];
    }
    if adds_default {
        policies.push(DEFAULT.to_owned());
    }
    policies.sort_unstable();
    policies.dedup();
    policies
}
