//! Fields of bodies, and query parameters, that an endpoint does not read. They are never dropped silently.
//! Fields that Vault or OpenBao know are refused by name ([`unsupported`](super::unsupported) lists them for
//! each route). The answer's warnings name all others, in OpenBao's words.

use serde_json::{Map, Value};

use super::{action::Action, body, error::ApiError, given::says_nothing, route::RequestContext};

/// Whether a query parameter says which action a GET is, so that it was read with the method.
fn is_action(name: &str, action: Action) -> bool {
    matches!(name, "list" | "scan") && !matches!(action, Action::Write | Action::Patch | Action::Delete)
}

fn refusal(name: &str) -> ApiError {
    ApiError::bad_request(format!("{name} is not supported here; leave it out"))
}

/// The value at a dotted path.
fn value_at<'v>(body: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let value = body.get(first)?;
    if rest.is_empty() { Some(value) } else { value_at(value.as_object()?, rest) }
}

impl RequestContext<'_> {
    /// Checks the query, and a body that the endpoint does not read, before the endpoint runs.
    ///
    /// # Errors
    ///
    /// `BadRequest` with the name of a parameter or field that is not supported.
    pub(super) fn check_unread(&self) -> Result<(), ApiError> {
        let route = self.route;
        for (name, value) in self.call.query_parameters() {
            if route.query.contains(&name.as_str()) || is_action(&name, self.call.action) {
                continue;
            }
            if name == "help" && !says_nothing(&value) {
                return Err(ApiError::bad_request(
                    "help is not supported: Keyway has no help for paths; the documentation of Vault's API describes them",
                ));
            }
            if route.unsupported.contains(&name.as_str()) && !says_nothing(&value) {
                return Err(refusal(&name));
            }
            self.unread.add(name);
        }
        if !route.reads_body && !self.body.is_empty() {
            let body: Map<String, Value> = body::parse(&self.body)?.0;
            self.report(body.keys().cloned().collect())?;
        }
        Ok(())
    }

    /// Refuses the fields that the route lists as not supported, unless they say nothing, and keeps the
    /// others for the warning.
    ///
    /// # Errors
    ///
    /// `BadRequest` with the name of a field.
    pub(super) fn report(&self, unread: Vec<String>) -> Result<(), ApiError> {
        let is_unsupported = |name: &str| self.route.unsupported.contains(&name);
        if unread.iter().any(|name| is_unsupported(name)) {
            let body: Map<String, Value> = body::parse(&self.body)?.0;
            let said = |name: &&String| value_at(&body, name).is_some_and(|value| !says_nothing(value));
            if let Some(name) = unread.iter().filter(|name| is_unsupported(name)).find(said) {
                return Err(refusal(name));
            }
        }
        unread.into_iter().filter(|name| !is_unsupported(name)).for_each(|name| self.unread.add(name));
        Ok(())
    }
}
