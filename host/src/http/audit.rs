//! The audit log of one request: a line before its effect, and one before its answer. What no device accepts is refused with 500,
//! before anything has happened or instead of the answer.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Call,
    answer::{self, Answer, Logical},
    error::ApiError,
    route::{Action, Mounted},
};
use crate::{
    audit::{
        AuditError, Devices,
        entry::{Auth, Entry, PolicyResults, Request, Response, Wrapped},
        redact::Hashes,
    },
    clock,
    core::{Caller, Unsealed},
};

/// What the audit log says of one request.
pub(super) struct Trail {
    devices: Devices,
    /// None while the server is sealed; then there is no key to hash with, and values are left out.
    unsealed: Option<Arc<Unsealed>>,
    asked: Option<Asked>,
}

struct Asked {
    auth: Option<Auth>,
    request: Request,
}

/// What is known of a request before it has an effect.
#[derive(Default)]
pub(super) struct Known<'a> {
    pub(super) caller: Option<&'a Caller>,
    pub(super) mounted: Option<&'a Mounted>,
    pub(super) body: Option<&'a Bytes>,
    pub(super) refused: Option<&'a ApiError>,
}

impl Trail {
    /// The trail of a request that begins now, by the devices and keys that there are now.
    pub(super) fn of(call: &Call) -> Self {
        // Who watches changes nothing, is told no secret, and must be answered when everything else fails.
        let devices = if call.is_for_watchers() { Devices::default() } else { call.core.audit().devices() };
        Self { devices, unsealed: call.core.unsealed().ok(), asked: None }
    }

    /// Says who asks for what, before it has an effect.
    pub(super) async fn ask(&mut self, call: &Call, known: Known<'_>) -> Result<(), ApiError> {
        if self.devices.are_none() {
            return Ok(());
        }
        let asked = self.describe(call, &known);
        let error = known.refused.map(ApiError::message);
        let entry = Entry {
            time: clock::now(),
            kind: "request",
            auth: asked.auth.as_ref(),
            request: &asked.request,
            response: None,
            error,
        };
        let accepted = self.devices.accept(entry.text()).await;
        self.asked = Some(asked);
        accepted.map_err(|error| refused(&error, "nothing was done"))
    }

    /// Says what is answered, and lets nothing else be answered.
    pub(super) async fn answer(
        mut self,
        call: &Call,
        answer: Result<Answer, ApiError>,
    ) -> Result<Answer, ApiError> {
        // What was refused because nobody wrote it down needs no second line.
        if self.devices.are_none() || matches!(answer, Err(ApiError::NotAudited(_))) {
            return answer;
        }
        if self.asked.is_none() {
            let known = Known { refused: answer.as_ref().err(), ..Known::default() };
            self.ask(call, known).await?;
        }
        let Some(asked) = &self.asked else { return answer };
        let entry = Entry {
            time: clock::now(),
            kind: "response",
            auth: asked.auth.as_ref(),
            request: &asked.request,
            response: answer.as_ref().ok().map(|answer| self.told(answer)),
            error: answer.as_ref().err().map(ApiError::message),
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

    fn describe(&self, call: &Call, known: &Known<'_>) -> Asked {
        let auth = known.caller.map(|caller| self.caller(call, caller, known.refused.is_none()));
        let (mount_point, mount_type) = match known.mounted {
            Some(Mounted::Secrets { at, .. }) => (format!("{at}/"), "kv".to_owned()),
            Some(Mounted::Auth { at, mount }) => (format!("auth/{at}/"), mount.kind.clone()),
            None => (String::new(), String::new()),
        };
        let data = self.hashes().and_then(|hashes| match call.action {
            Action::Read | Action::List => {
                let query = call.query_parameters();
                (!query.is_empty()).then(|| hashes.json(&serde_json::Value::Object(query).to_string()))
            }
            _ => known.body.filter(|body| !body.is_empty()).map(|body| bytes(hashes, body)),
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
        Asked { auth, request }
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
                Response { data: self.hashes().map(|hashes| hashes.json(body.get())), ..Response::default() }
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
            data: data.and_then(|data| self.hashes().map(|hashes| hashes.json(data.get()))),
            auth: logical.auth.as_ref().map(made),
            wrap_info: logical.wrap_info.as_ref().map(wrapped),
        }
    }
}

fn bytes(hashes: Hashes<'_>, body: &Bytes) -> serde_json::Value {
    match std::str::from_utf8(body) {
        Ok(text) => hashes.json(text),
        Err(_) => serde_json::Value::String(hashes.text(&data_encoding::HEXLOWER.encode(body))),
    }
}

fn refused(error: &AuditError, consequence: &str) -> ApiError {
    tracing::error!(%error, "a request is refused: it cannot be audited");
    ApiError::NotAudited(format!("the request cannot be audited, and {consequence}; see the server's log"))
}

fn operation(action: Action) -> &'static str {
    match action {
        Action::Read => "read",
        Action::Write => "update",
        Action::Patch => "patch",
        Action::Delete => "delete",
        Action::List => "list",
    }
}
