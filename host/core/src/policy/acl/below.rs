//! Whether a mount is of use to a token: whether any pattern that allows something could match the mount's
//! path, or one below it.

use super::Acl;
use crate::policy::rule::{Capabilities, Permissions};

impl Acl {
    /// Whether anything may be allowed at a path, or at one below it. The path ends with a slash, and counts
    /// without it too.
    pub fn allows_anything_below(&self, folder: &str) -> bool {
        let bare = folder.trim_end_matches('/');
        let of_exact = |path: &str| path == bare || path.starts_with(folder);
        let of_prefix = |prefix: &str| prefix.starts_with(folder) || folder.starts_with(prefix);
        self.is_root
            || self.exact.iter().any(|(path, found)| of_exact(path) && allows(found))
            || self.prefixes.iter().any(|(prefix, found)| of_prefix(prefix) && allows(found))
            || self
                .segments
                .iter()
                .any(|((pattern, is_prefix), found)| allows(found) && reaches(pattern, *is_prefix, bare))
    }
}

fn allows(permissions: &Permissions) -> bool {
    permissions.capabilities != Capabilities::NONE && !permissions.capabilities.has(Capabilities::DENY)
}

/// Whether a pattern could match the folder, or something in it.
fn reaches(pattern: &str, is_prefix: bool, folder: &str) -> bool {
    let mut segments = pattern.split('/').peekable();
    for part in folder.split('/') {
        // It ends above the folder.
        let Some(segment) = segments.next() else { return false };
        let is_last = segments.peek().is_none();
        if is_prefix && is_last && part.starts_with(segment) {
            return true;
        }
        if segment != "+" && segment != part {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::{Policy, parse::parse};

    fn is_of_use(pattern: &str, capabilities: &str, folder: &str) -> bool {
        let text = format!("path \"{pattern}\" {{ capabilities = [{capabilities}] }}");
        let policy = Policy { name: "p".to_owned(), rules: parse(&text).unwrap() };
        Acl::new([&Arc::new(policy)]).allows_anything_below(folder)
    }

    /// As OpenBao 2.7.2 answers `sys/internal/ui/mounts/bm/bar/bar/baz`.
    #[test]
    fn patterns_that_reach_below_a_mount_make_it_visible() {
        for pattern in [
            "*",
            "b*",
            "bm/*",
            "bm/bar/bar/*",
            "bm/bar/bar/ba*",
            "bm/bar/bar/baz",
            "bm/bar/bar/baz/",
            "bm/bar/bar/baz/x",
            "bm/bar/bar/baz/*",
            "bm/bar/bar/baz*",
            "+/*",
            "bm/+/*",
            "bm/+/+/*",
            "bm/+/+/ba*",
            "bm/+/+/baz",
            "bm/+/+/+",
            "bm/+/+/+/*",
            "bm/+/+/+/x",
            "+/+/+/+",
            "+/+/+/+/+",
            "bm/bar/+/baz",
            "bm/bar/+/baz/*",
        ] {
            assert!(is_of_use(pattern, "\"read\"", "bm/bar/bar/baz/"), "{pattern}");
            assert!(!is_of_use(pattern, "\"read\", \"deny\"", "bm/bar/bar/baz/"), "{pattern}");
            assert!(!is_of_use(pattern, "", "bm/bar/bar/baz/"), "{pattern}");
        }
        for pattern in [
            "+",
            "bm",
            "bm/",
            "bm/+",
            "bm/+/+",
            "bm/bar/bar",
            "bm/bar/bar/",
            "bm/bar/bar/bo*",
            "bm/bar/bar/bazz*",
            "bm/+/+/bo*",
            "bm/+/+/bazz",
            "bm/+/foo/*",
            "c/+/*",
            "bm/bar/bar/bazz/x",
            "bm/bar/bar/bazz",
        ] {
            assert!(!is_of_use(pattern, "\"read\"", "bm/bar/bar/baz/"), "{pattern}");
        }
    }
}
