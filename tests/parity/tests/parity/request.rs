//! A request, and what a server answers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long a server may take for work that goes on after its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The headers of an answer that clients depend on.
const HEADERS: [&str; 4] = ["content-type", "cache-control", "location", "www-authenticate"];

/// A request as it is sent to one server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// An empty token is not sent.
    pub(crate) token: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<String>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<&'static str, String>,
    /// Null if there is no body; a string if it is not JSON.
    pub(crate) body: Value,
}

/// A client that keeps its connections.
pub(crate) struct Client {
    agent: ureq::Agent,
    pub(crate) address: String,
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .max_redirects(0)
            .proxy(None)
            .allow_non_standard_methods(true)
            .build()
            .new_agent();
        Self { agent, address: address.to_owned() }
    }

    /// Sends a request; again while OpenBao sets up a key-value store of version 2 that was just mounted, or
    /// shows a token whose uses are spent and which it is about to revoke.
    pub(crate) fn send(&self, request: &Request) -> Reply {
        let begun = Instant::now();
        loop {
            let reply = self.send_once(request);
            let is_upgrading =
                reply.status == 400 && reply.body.to_string().contains("Upgrading from non-versioned");
            let is_of_another =
                request.path.starts_with("auth/token/lookup") && !request.path.ends_with("-self");
            let is_revoking = is_of_another && reply.body["data"]["num_uses"] == -1;
            if (!is_upgrading && !is_revoking) || begun.elapsed() > PATIENCE {
                return reply;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn send_once(&self, request: &Request) -> Reply {
        let Request { method, path, token, headers, body } = request;
        let mut message =
            ureq::http::Request::builder().method(method.as_str()).uri(format!("{}/v1/{path}", self.address));
        if !token.is_empty() {
            message = message.header("X-Vault-Token", token);
        }
        if body.is_some() {
            let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            message = message.header("Content-Type", kind);
        }
        for (name, value) in headers {
            message = message.header(name, value);
        }
        let answer = match body {
            Some(body) => self.agent.run(message.body(body.clone()).expect("a request")),
            None => self.agent.run(message.body(()).expect("a request")),
        };
        let mut answer = answer.unwrap_or_else(|error| panic!("{}: {method} {path}: {error}", self.address));
        let text = answer.body_mut().read_to_string().expect("a body of text");
        let headers = HEADERS.into_iter().filter(|name| !(text.is_empty() && *name == "content-type"));
        let headers = headers.filter_map(|name| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some((name, value.to_owned()))
        });
        let headers = headers.collect();
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        };
        Reply { status: answer.status().as_u16(), headers, body }
    }
}
