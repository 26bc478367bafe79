//! Routes: which path and action is answered by which endpoint, and who may ask. The tables are data, so that a test can go
//! through all of them.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;

use super::{Call, answer::Answer, error::ApiError};
use crate::{core::Unsealed, mounts::Mount};

/// What a method asks for: PUT is POST, LIST is also `GET ?list=true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// GET and HEAD.
    Read,
    /// PUT and POST.
    Write,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// LIST.
    List,
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever reaches the listener, for this reason.
    Open(&'static str),
    /// Whoever shows a token that may.
    Token,
}

/// How long the body of a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLimit {
    /// As long as a secret's value.
    Value,
    /// Short.
    Small,
}

/// What answers.
pub(super) type Answered<'a> = Pin<Box<dyn Future<Output = Result<Answer, ApiError>> + Send + 'a>>;

/// One route.
pub struct Route {
    /// Literal segments; `{name}` is one segment, `{path}` all that is left, nothing included.
    pub pattern: &'static str,
    /// What is asked for.
    pub action: Action,
    /// Who may ask.
    pub access: Access,
    pub(super) body: BodyLimit,
    pub(super) run: for<'a> fn(&'a At<'a>) -> Answered<'a>,
}

/// Routes that stand together.
pub struct Table {
    /// What the measurements put before their patterns.
    pub base: &'static str,
    /// The routes, the more special ones first.
    pub routes: &'static [Route],
}

/// A request at its route.
pub(super) struct At<'c> {
    pub(super) call: &'c Call,
    /// What stands in the place of `{name}` or `{path}`.
    pub(super) name: &'c str,
    /// None where the route is open.
    pub(super) unsealed: Option<Arc<Unsealed>>,
    /// The mount that the path lies in, for the routes of mounts.
    pub(super) mounted: Option<Mounted>,
    pub(super) body: Bytes,
}

/// Where a route of a mount was found.
pub(super) struct Mounted {
    /// The path of the mount.
    pub(super) at: String,
    pub(super) mount: Mount,
}

impl Route {
    /// A route for those who show a token that may.
    pub(super) const fn new(
        action: Action,
        pattern: &'static str,
        run: for<'a> fn(&'a At<'a>) -> Answered<'a>,
    ) -> Self {
        Self { pattern, action, access: Access::Token, body: BodyLimit::Small, run }
    }

    /// A route for everybody.
    pub(super) const fn open(self, reason: &'static str) -> Self {
        Self { access: Access::Open(reason), ..self }
    }

    /// With bodies as long as the value of a secret.
    pub(super) const fn with_value(self) -> Self {
        Self { body: BodyLimit::Value, ..self }
    }
}

/// The route that a path belongs to.
///
/// # Errors
///
/// `MethodNotAllowed` where the path has other actions; none where no route has the path.
pub(super) fn find<'p>(
    table: &'static Table,
    path: &'p str,
    action: Action,
) -> Result<Option<(&'static Route, &'p str)>, ApiError> {
    let mut is_known = false;
    for route in table.routes {
        let Some(name) = matched(route.pattern, path) else { continue };
        if route.action == action {
            return Ok(Some((route, name)));
        }
        is_known = true;
    }
    if is_known { Err(ApiError::MethodNotAllowed) } else { Ok(None) }
}

/// What stands in the pattern's open place; nothing where it has none.
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

impl At<'_> {
    /// What the server holds; the routes that are not open have it.
    pub(super) fn unsealed(&self) -> Result<&Arc<Unsealed>, ApiError> {
        self.unsealed.as_ref().ok_or(ApiError::Sealed)
    }

    /// Where the mount is, and what it is; the routes of mounts have them.
    pub(super) fn mounted(&self) -> Result<&Mounted, ApiError> {
        self.mounted.as_ref().ok_or(ApiError::NotFound)
    }
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
