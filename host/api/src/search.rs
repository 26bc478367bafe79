//! Finds the route of a path in a table.

use crate::{
    action::Action,
    error::ApiError,
    route::{Route, Table},
};

/// The route that a path belongs to.
///
/// # Errors
///
/// `MethodNotAllowed` if the path has other actions; none if no route has the path.
pub(super) fn find<'p>(
    table: &'static Table,
    path: &'p str,
    action: Action,
) -> Result<Option<(&'static Route, &'p str)>, ApiError> {
    let mut is_known = false;
    for route in table.routes {
        // What takes every path takes none that another route has.
        if is_known && route.takes_every_path() && table.has_others() {
            continue;
        }
        let Some(name) = matched(route.pattern, path) else { continue };
        if route.action == action {
            return Ok(Some((route, name)));
        }
        is_known |= !route.takes_every_path() || !table.has_others();
    }
    if is_known { Err(ApiError::MethodNotAllowed) } else { Ok(None) }
}

/// What stands in the pattern's open place; nothing if it has none.
fn matched<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return (path.trim_end_matches('/') == pattern).then_some("");
    };
    let (kind, behind) = rest.split_once('}')?;
    if kind == "path" && behind.is_empty() {
        if before.is_empty() {
            return Some(path);
        }
        let begins = before.trim_end_matches('/');
        let rest = path.strip_prefix(begins)?;
        return if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') };
    }
    let name = path.trim_end_matches('/').strip_prefix(before)?.strip_suffix(behind)?;
    let fits = if kind == "path" { !name.is_empty() } else { !name.is_empty() && !name.contains('/') };
    fits.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, name) in [
            ("sys/seal", "sys/seal", Some("")),
            ("sys/seal", "sys/seal/", Some("")),
            ("sys/seal", "sys/sealed", None),
            ("sys/policy/{name}", "sys/policy/a", Some("a")),
            ("sys/policy/{name}", "sys/policy", None),
            ("sys/policy/{name}", "sys/policy/a/b", None),
            ("sys/mounts/{path}/tune", "sys/mounts/a/b/tune", Some("a/b")),
            ("sys/mounts/{path}/tune", "sys/mounts/tune", None),
            ("sys/mounts/{path}", "sys/mounts/a/b/", Some("a/b/")),
            ("data/{path}", "data/a", Some("a")),
            ("data/{path}", "data", Some("")),
            ("data/{path}", "database/a", None),
            ("role/{name}/role-id", "role/x/role-id", Some("x")),
            ("role/{name}/role-id", "role/x/y/role-id", None),
            ("{path}", "a/b", Some("a/b")),
        ] {
            assert_eq!(matched(pattern, path), name, "{pattern} {path}");
        }
    }
}
