//! Routes: which path and action is answered by which endpoint, and who may ask. The tables are data, so that
//! a test can go through all of them.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use keyway_core::{
    Caller, Unsealed,
    mounts::{AuthMount, Mount},
};
use keyway_storage::prefetch::Prefetched;

use super::{action::Action, answer::Answer, call::Call, edge::Setting, error::ApiError, unread::Unread};

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Any client, for this reason.
    Open(&'static str),
    /// A client with a valid token, whatever its policies, for this reason.
    Holder(&'static str),
    /// A client with no token or with a valid one, whatever its policies, for this reason.
    Visitor(&'static str),
    /// A client with a valid token whose policies allow it.
    Token,
}

/// What becomes of a request when the server has too much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// It is refused with 503.
    Shed,
    /// It is answered; the rate limit of its client holds.
    Unshed,
    /// It is answered, and no rate limit holds. If it is open, the audit log leaves it out.
    Monitoring,
}

/// What a route does with the token of a wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// Nothing: the token is spent.
    None,
    /// Takes the answer out.
    Unwrap,
    /// Puts the answer into another wrapping.
    Rewrap,
    /// Says when the wrapping was made.
    Lookup,
}

/// How long the body of a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLimit {
    /// As long as a secret's value.
    Value,
    /// Short.
    Small,
}

/// What an endpoint does, in time.
pub(super) type Async<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;
/// An endpoint.
pub(super) type Endpoint = for<'a> fn(&'a RequestContext<'a>) -> Async<'a, Answer>;
/// Whether what a write is for is there already.
pub(super) type Exists = for<'a> fn(&'a RequestContext<'a>) -> Async<'a, bool>;

/// One route.
pub struct Route {
    /// Literal segments; `{name}` is one segment, `{path}` all that is left, nothing included.
    pub pattern: &'static str,
    /// The action.
    pub action: Action,
    /// Who may ask.
    pub access: Access,
    /// Whether it needs the capability `sudo`, too.
    pub needs_sudo: bool,
    /// Whether it takes no use of a token whose uses are counted.
    pub is_free: bool,
    /// Whether names count in lower case.
    folds_case: bool,
    /// Whether each request is an attempt at something that only some know: counted for its client.
    pub(super) is_attempt: bool,
    /// The setting that opens it to every client.
    pub(super) opened_by: Option<Setting>,
    /// What becomes of it when the server has too much to do.
    pub(super) load: Load,
    /// Whether the stores are read before an open request is answered.
    pub(super) needs_store: bool,
    /// What it does with the token of a wrapping.
    pub(super) wrapping: Wrapping,
    /// Whether a sealed server answers it to every client, and does nothing.
    pub(super) is_open_while_sealed: bool,
    /// Whether its answer can be wrapped though it is open.
    pub(super) wraps: bool,
    /// Whether its path ends with the name of one secret.
    pub(super) names_secret: bool,
    /// Whether the endpoint reads a secret's metadata first.
    pub(super) reads_secret: bool,
    pub(super) body: BodyLimit,
    /// Whether the endpoint reads the fields of its body.
    pub(super) reads_body: bool,
    /// The query parameters that the endpoint reads.
    pub(super) query: &'static [&'static str],
    /// Fields and query parameters that Vault or OpenBao know here and Keyway does not support; a dot leads
    /// into an object.
    pub unsupported: &'static [&'static str],
    pub(super) exists: Option<Exists>,
    pub(super) run: Endpoint,
}

/// Routes that stand together.
pub struct Table {
    /// What the measurements put before their patterns.
    pub base: &'static str,
    /// The routes, the more special ones first.
    pub routes: &'static [Route],
}

impl Table {
    /// Whether some routes are more special than the one that takes every path.
    pub(super) fn has_others(&self) -> bool {
        self.routes.iter().any(|route| !route.takes_every_path())
    }
}

/// A request at its route.
pub(super) struct RequestContext<'c> {
    pub(super) call: &'c Call,
    pub(super) route: &'static Route,
    /// What the request has and the endpoint does not read.
    pub(super) unread: Unread,
    /// What stands in the place of `{name}` or `{path}`.
    pub(super) name: &'c str,
    /// None if the server is sealed, which the routes that are not open never see.
    pub(super) unsealed: Option<Arc<Unsealed>>,
    /// What was read when it arrived.
    pub(super) prefetched: &'c Prefetched,
    /// None if the route is open.
    pub(super) caller: Option<Caller>,
    /// The mount that the path lies in, for the routes of mounts.
    pub(super) mounted: Option<Mounted>,
    pub(super) body: Bytes,
    /// The path as the policies see it.
    pub(super) path: String,
}

/// The mount that a path lies in, and where it is.
#[derive(Clone)]
pub(super) enum Mounted {
    Secrets { path: String, mount: Mount },
    Auth { path: String, mount: AuthMount },
}

impl Route {
    /// A route for those whose policies allow it.
    pub(super) const fn new(action: Action, pattern: &'static str, run: Endpoint) -> Self {
        Self {
            pattern,
            action,
            access: Access::Token,
            needs_sudo: false,
            folds_case: false,
            is_attempt: false,
            opened_by: None,
            load: Load::Shed,
            needs_store: true,
            wrapping: Wrapping::None,
            is_open_while_sealed: false,
            wraps: false,
            names_secret: false,
            reads_secret: false,
            body: BodyLimit::Small,
            reads_body: matches!(action, Action::Write | Action::Patch),
            query: &[],
            unsupported: &[],
            is_free: false,
            exists: None,
            run,
        }
    }

    /// A route for every client.
    pub(super) const fn open(self, reason: &'static str) -> Self {
        Self { access: Access::Open(reason), ..self }
    }

    /// A route for every client with a valid token.
    pub(super) const fn holders(self, reason: &'static str) -> Self {
        Self { access: Access::Holder(reason), ..self }
    }

    /// A route for every client with no token or with a valid one.
    pub(super) const fn visitors(self, reason: &'static str) -> Self {
        Self { access: Access::Visitor(reason), ..self }
    }

    /// A route that takes no use of a token, as OpenBao has it.
    pub(super) const fn free(self) -> Self {
        Self { is_free: true, ..self }
    }

    /// A route for administrators.
    pub(super) const fn sudo(self) -> Self {
        Self { needs_sudo: true, ..self }
    }

    /// A part of a ceremony: for clients whose policies allow it, or for every client if the configuration
    /// says so.
    pub(super) const fn ceremony(self) -> Self {
        Self { opened_by: Some(Setting::Ceremonies), ..self }
    }

    /// For clients whose policies allow it, or for every client if the setting says so.
    pub(super) const fn opened_by(self, setting: Setting) -> Self {
        Self { opened_by: Some(setting), ..self }
    }

    /// A route of monitoring: it is answered even if the server sheds other requests.
    pub(super) const fn monitoring(self) -> Self {
        Self { load: Load::Monitoring, needs_store: false, ..self }
    }

    /// A small route of operators: it is answered when the server has too much to do.
    pub(super) const fn unshed(self) -> Self {
        Self { load: Load::Unshed, needs_store: false, ..self }
    }

    /// A route that reads the stores itself, if it needs them.
    pub(super) const fn without_store(self) -> Self {
        Self { needs_store: false, ..self }
    }

    /// A route that takes the token of a wrapping.
    pub(super) const fn wrapping(self, wrapping: Wrapping) -> Self {
        Self { wrapping, ..self }
    }

    /// A route that a client can use to guess a secret.
    pub(super) const fn attempt(self) -> Self {
        Self { is_attempt: true, ..self }
    }

    /// A route that a sealed server answers to every client.
    pub(super) const fn open_while_sealed(self) -> Self {
        Self { is_open_while_sealed: true, ..self }
    }

    /// An open route whose answer can be wrapped.
    pub(super) const fn wrappable(self) -> Self {
        Self { wraps: true, ..self }
    }

    /// A route whose path ends with the name of one secret.
    pub(super) const fn of_secret(self) -> Self {
        Self { names_secret: true, ..self }
    }

    /// A route that reads a secret.
    pub(super) const fn reading_secret(self) -> Self {
        Self { reads_secret: true, ..self }
    }

    /// With names that count in lower case.
    pub(super) const fn folding_case(self) -> Self {
        Self { folds_case: true, ..self }
    }

    /// A write whose body has no fields.
    pub(super) const fn without_fields(self) -> Self {
        Self { reads_body: false, ..self }
    }

    /// A deletion that reads the fields of its body.
    pub(super) const fn with_fields(self) -> Self {
        Self { reads_body: true, ..self }
    }

    /// With these query parameters.
    pub(super) const fn query(self, names: &'static [&'static str]) -> Self {
        Self { query: names, ..self }
    }

    /// With fields that are refused by name.
    pub(super) const fn refusing(self, names: &'static [&'static str]) -> Self {
        Self { unsupported: names, ..self }
    }

    /// With bodies as long as the value of a secret.
    pub(super) const fn with_value(self) -> Self {
        Self { body: BodyLimit::Value, ..self }
    }

    /// A write that needs `create` or `update`; which one depends on whether the thing exists.
    pub(super) const fn creating(self, exists: Exists) -> Self {
        Self { exists: Some(exists), ..self }
    }

    /// A name as the endpoint and the policies see it.
    pub(super) fn folded(&self, name: &str) -> String {
        if self.folds_case { name.to_lowercase() } else { name.to_owned() }
    }

    /// Whether it takes every path of its table that no other route has.
    pub(super) fn takes_every_path(&self) -> bool {
        self.pattern == "{path}"
    }

    /// The last segment of its pattern.
    pub(super) fn last_segment(&self) -> &'static str {
        self.pattern.rsplit('/').next().unwrap_or_default()
    }

    /// The path as the policies see it.
    pub(super) fn policy_path(&self, path: &str, name: &str, action: Action) -> String {
        let path = action.policy_path(path);
        if !self.folds_case || name.is_empty() {
            return path;
        }
        // The pattern places the name, counted from the end; the part before it is the mount's path.
        let behind = self.pattern.split_once('}').map_or("", |(_, behind)| behind);
        let end = path.trim_end_matches('/').len() - behind.len();
        let name = name.trim_end_matches('/');
        let (Some(before), Some(after)) = (path.get(..end), path.get(end..)) else { return path };
        match before.rmatch_indices('/').nth(name.matches('/').count()) {
            Some((slash, _)) => format!("{}/{name}{after}", before.get(..slash).unwrap_or_default()),
            None => path,
        }
    }
}

impl RequestContext<'_> {
    /// What the server holds.
    pub(super) fn unsealed(&self) -> Result<&Arc<Unsealed>, ApiError> {
        self.unsealed.as_ref().ok_or(ApiError::Sealed)
    }

    /// Who asks; the routes that are not open have one.
    pub(super) fn caller(&self) -> Result<&Caller, ApiError> {
        self.caller.as_ref().ok_or(ApiError::PermissionDenied)
    }

    /// The mount of secrets that the path lies in, and where it is.
    pub(super) fn secrets(&self) -> Result<(&str, &Mount), ApiError> {
        match &self.mounted {
            Some(Mounted::Secrets { path, mount }) => Ok((path, mount)),
            _ => Err(ApiError::NotFound),
        }
    }

    /// The auth method that the path lies in, and where it is.
    pub(super) fn auth(&self) -> Result<(&str, &AuthMount), ApiError> {
        match &self.mounted {
            Some(Mounted::Auth { path, mount }) => Ok((path, mount)),
            _ => Err(ApiError::NotFound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_see_names_in_lower_case_where_endpoints_do() {
        let route = |pattern| Route::new(Action::Write, pattern, |_| Box::pin(async { Ok(Answer::Nothing) }));
        let folding = route("role/{name}/secret-id").folding_case();
        let path = folding.policy_path("auth/MyMount/role/ADMIN/secret-id", "admin", Action::Write);
        assert_eq!(path, "auth/MyMount/role/admin/secret-id");
        let listed = folding.policy_path("auth/MyMount/role/ADMIN/secret-id/", "admin", Action::List);
        assert_eq!(listed, "auth/MyMount/role/admin/secret-id/");
        let path =
            route("sys/policy/{name}").folding_case().policy_path("sys/policy/ADMIN/", "admin", Action::Read);
        assert_eq!(path, "sys/policy/admin");
        let policies = route("sys/policies/acl/{path}").folding_case();
        for (action, path, seen) in [
            (Action::Write, "sys/policies/acl/Team/App", "sys/policies/acl/team/app"),
            (Action::Read, "sys/policies/acl/TEAM/İ/b/", "sys/policies/acl/team/i\u{307}/b"),
            (Action::List, "sys/policies/acl/Team/", "sys/policies/acl/team/"),
            (Action::Read, "sys/policies/acl", "sys/policies/acl"),
        ] {
            let name = path.strip_prefix("sys/policies/acl/").unwrap_or_default().to_lowercase();
            assert_eq!(policies.policy_path(path, &name, action), seen);
        }
        assert_eq!(route("data/{path}").policy_path("secret/data/A", "A", Action::Read), "secret/data/A");
    }
}
