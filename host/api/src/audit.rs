//! The audit log of one request: a line before its effect, and one before its answer. What no device accepts
//! is refused with 500, before anything has happened or instead of the answer.

use std::sync::Arc;

use bytes::Bytes;
use keyway_common::clock;
use keyway_core::{
    Caller, Unsealed,
    audit::{
        AuditError, Devices,
        entry::{Auth, Entry, PolicyResults, Request, Response, Wrapped},
        redact::Hashes,
    },
};

use super::{
    action::Action,
    answer::{self, Answer, Logical},
    call::Call,
    error::ApiError,
    route::Mounted,
    target,
};

/// About how many bytes the values of one body take in a line at most.
const MOST_BYTES: usize = 256 * 1024;
/// The same limit for a request without a valid token.
const STRANGERS_BYTES: usize = 4 * 1024;

/// What the audit log says of one request.
#[derive(Default)]
pub(super) struct Trail {
    /// The devices that there were when it was asked; the answer goes to the same.
    devices: Devices,
    /// None if the server was sealed when it was asked; then there is no key to hash with, and values are
    /// left out.
    unsealed: Option<Arc<Unsealed>>,
    asked: Option<AuditedRequest>,
    /// Whether a device has accepted what was asked.
    is_written: bool,
}

struct AuditedRequest {
    auth: Option<Auth>,
    request: Request,
}

/// The facts about a request before it has an effect.
#[derive(Default)]
pub(super) struct AuditFacts<'a> {
    pub(super) caller: Option<&'a Caller>,
    pub(super) mounted: Option<&'a Mounted>,
    pub(super) body: Option<&'a Bytes>,
    pub(super) refused: Option<&'a ApiError>,
}

impl Trail {
    /// Says who asks for what, right before it has an effect: to the devices, and by the keys, that there are
    /// then.
    pub(super) async fn ask(&mut self, call: &Call, known: AuditFacts<'_>) -> Result<(), ApiError> {
        // Who watches must be answered when everything else fails.
        if target::is_unaudited(call) {
            return Ok(());
        }
        // The keys come first: an unsealed server with these keys has its audit devices, too.
        self.unsealed = call.core.unsealed().ok();
        self.devices = call.core.audit().devices();
        if self.devices.are_none() {
            return Ok(());
        }
        let mut asked = self.describe(call, &known);
        let entry = Entry {
            time: clock::now(),
            kind: "request",
            auth: asked.auth.as_ref(),
            request: &asked.request,
            response: None,
            error: known.refused.map(why),
        };
        let text = entry.text();
        // The line of the answer names the request, and does not repeat it.
        asked.request.data = None;
        self.asked = Some(asked);
        let accepted = self.devices.accept(text).await;
        accepted.map_err(|error| refused(&error, "nothing was done"))?;
        self.is_written = true;
        Ok(())
    }

    /// Logs the answer. The server sends no other answer than the logged one.
    pub(super) async fn answer(
        mut self,
        call: &Call,
        answer: Result<Answer, ApiError>,
    ) -> Result<Answer, ApiError> {
        if self.asked.is_none() {
            let known = AuditFacts { refused: answer.as_ref().err(), ..AuditFacts::default() };
            self.ask(call, known).await?;
        }
        let Some(asked) = &self.asked else { return answer };
        if !self.is_written {
            // It was refused for that, or its time was over while it waited.
            return match answer {
                Err(ApiError::NotAudited(_)) => answer,
                _ => Err(not_audited("nothing was done")),
            };
        }
        let entry = Entry {
            time: clock::now(),
            kind: "response",
            auth: asked.auth.as_ref(),
            request: &asked.request,
            response: answer.as_ref().ok().map(|answer| self.told(answer)),
            error: answer.as_ref().err().map(why),
        };
        let accepted = self.devices.accept(entry.text()).await;
        accepted.map_err(|error| refused(&error, "what was done is not told"))?;
        answer
    }

    fn hashes(&self) -> Option<Hashes<'_>> {
        self.unsealed.as_ref().map(|unsealed| Hashes::new(unsealed.barrier()))
    }

    fn hash(&self, text: &str) -> String {
        self.hashes().map(|hashes| hashes.text(text)).unwrap_or_default()
    }

    fn describe(&self, call: &Call, known: &AuditFacts<'_>) -> AuditedRequest {
        let auth = known.caller.map(|caller| self.caller(call, caller, known.refused.is_none()));
        let (mount_point, mount_type) = match known.mounted {
            Some(Mounted::Secrets { path, .. }) => (format!("{path}/"), "kv".to_owned()),
            Some(Mounted::Auth { path, mount }) => (format!("auth/{path}/"), mount.kind.clone()),
            None => (String::new(), String::new()),
        };
        // What strangers send is not made much longer than it is.
        let most = if known.caller.is_some() { MOST_BYTES } else { STRANGERS_BYTES };
        let data = self.hashes().and_then(|hashes| match call.action {
            Action::Read | Action::List | Action::Scan => {
                let query = call.query_parameters();
                let query = (!query.is_empty()).then(|| serde_json::Value::Object(query).to_string());
                query.map(|query| hashes.json(&query, most))
            }
            _ => {
                let body = known.body.filter(|body| !body.is_empty());
                body.map(|body| hashes.json(&String::from_utf8_lossy(body), most))
            }
        });
        let request = Request {
            id: call.id.to_string(),
            operation: operation(call.action),
            mount_point,
            mount_type,
            client_token: call.token.as_ref().map(|token| self.hash(token.expose())).unwrap_or_default(),
            client_token_accessor: auth.as_ref().map(|auth| auth.accessor.clone()).unwrap_or_default(),
            path: call.path.as_str().to_owned(),
            data,
            remote_address: call.peer.map(|peer| peer.ip().to_string()).unwrap_or_default(),
            remote_port: call.peer.map(|peer| peer.port()),
            wrap_ttl: call.wrap_ttl,
        };
        AuditedRequest { auth, request }
    }

    fn caller(&self, call: &Call, caller: &Caller, allowed: bool) -> Auth {
        let entry = &caller.live.entry;
        Auth {
            client_token: call.token.as_ref().map(|token| self.hash(token.expose())).unwrap_or_default(),
            accessor: self.hash(&entry.accessor),
            display_name: entry.display_name.clone(),
            policies: entry.policies.clone(),
            token_policies: entry.policies.clone(),
            metadata: entry.meta.clone(),
            token_type: "service",
            policy_results: Some(PolicyResults { allowed }),
        }
    }

    fn told(&self, answer: &Answer) -> Response {
        match answer {
            Answer::Nothing | Answer::Metrics(_) | Answer::Health(..) => Response::default(),
            Answer::Plain(body) => {
                let data = self.hashes().map(|hashes| hashes.json(body.get(), MOST_BYTES));
                Response { data, ..Response::default() }
            }
            Answer::Logical(logical) => self.logical(logical),
        }
    }

    fn logical(&self, logical: &Logical) -> Response {
        let made = |auth: &answer::Auth| Auth {
            client_token: self.hash(&auth.client_token),
            accessor: self.hash(&auth.accessor),
            display_name: String::new(),
            policies: auth.policies.clone(),
            token_policies: auth.token_policies.clone(),
            metadata: auth.metadata.clone(),
            token_type: "service",
            policy_results: None,
        };
        let wrapped = |info: &answer::WrapInfo| Wrapped {
            token: self.hash(&info.token),
            accessor: self.hash(&info.accessor),
            ttl: info.ttl,
            creation_path: info.creation_path.clone(),
            wrapped_accessor: if info.wrapped_accessor.is_empty() {
                String::new()
            } else {
                self.hash(&info.wrapped_accessor)
            },
        };
        let data = logical.data.as_ref().filter(|data| data.get() != "null");
        Response {
            data: data.and_then(|data| self.hashes().map(|hashes| hashes.json(data.get(), MOST_BYTES))),
            auth: logical.auth.as_ref().map(made),
            wrap_info: logical.wrap_info.as_ref().map(wrapped),
        }
    }
}

/// Why a request is refused or has failed, without what its client has written: that stands in quotation
/// marks, and may be a secret in the wrong place.
fn why(error: &ApiError) -> String {
    let (mut said, mut is_quoted, mut is_escaped) = (String::new(), false, false);
    for char in error.message().chars() {
        match char {
            '"' if !is_escaped => {
                is_quoted = !is_quoted;
                said.push_str(if is_quoted { "\"…" } else { "\"" });
            }
            _ if !is_quoted => said.push(char),
            _ => {}
        }
        is_escaped = is_quoted && char == '\\' && !is_escaped;
    }
    said
}

fn refused(error: &AuditError, consequence: &str) -> ApiError {
    tracing::error!(%error, "a request is refused: it cannot be audited");
    not_audited(consequence)
}

fn not_audited(consequence: &str) -> ApiError {
    ApiError::NotAudited(format!("the request cannot be audited, and {consequence}; see the server's log"))
}

fn operation(action: Action) -> &'static str {
    match action {
        Action::Read => "read",
        Action::Write => "update",
        Action::Patch => "patch",
        Action::Delete => "delete",
        Action::List => "list",
        Action::Scan => "scan",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_write_is_not_in_the_reason() {
        for (value, said) in
            [("plain", "\"…\" is wrong"), ("a\"b", "\"…\" is wrong"), ("a\\", "\"…\" is wrong")]
        {
            let error = ApiError::bad_request(format!("{value:?} is wrong"));
            assert_eq!(why(&error), said, "{value}");
        }
        assert_eq!(why(&ApiError::NotFound), "not found");
        assert_eq!(why(&ApiError::PermissionDenied), "permission denied");
    }
}
