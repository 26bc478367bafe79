//! The client side of the API.

mod tls;
mod trouble;

use std::time::Duration;

use serde_json::{Value, json};
use ureq::{
    RequestBuilder,
    unversioned::transport::{Connector, TcpConnector},
};
use zeroize::Zeroizing;

use self::trouble::{Kind, NamingResolver, Target};
use super::{
    connection::Server,
    environment::{Environment, Variable},
    failure::Failure,
    kept,
};

const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8200";
/// Longer than the server takes for a request, by default.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Within the timeout for all of a request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// The text of a mount that refuses requests while its secrets get versions; its status varies.
const UPGRADING: &str = "Upgrading from non-versioned to versioned data";

/// A server, and the token to show it.
pub(super) struct Client {
    agent: ureq::Agent,
    target: Target,
    token: Option<Token>,
}

/// A token, and where it is from, for people.
struct Token {
    value: Zeroizing<String>,
    from: String,
}

/// An answer of any status.
pub(super) struct Answer {
    pub(super) status: u16,
    text: String,
    /// Where the token that was shown is from; none if none was.
    token_from: Option<String>,
}

impl Client {
    /// A client of the server that the arguments name, or the environment.
    ///
    /// # Errors
    ///
    /// If the arguments or the environment ask for something that there is not.
    pub(super) fn new(server: Server) -> Result<Self, Failure> {
        let environment = Environment::of_process();
        environment.refuse_unsupported()?;
        let address = match &server.address {
            Some(address) => address.clone(),
            None => environment.text("ADDR")?.map_or_else(|| DEFAULT_ADDRESS.to_owned(), |found| found.value),
        };
        let address = address.trim().trim_end_matches('/').to_owned();
        if !address.starts_with("http://") && !address.starts_with("https://") {
            let message = format!(
                "{address:?} is no address of a server; write https://HOST:PORT, or http://HOST:PORT"
            );
            return Err(Failure::Usage(message));
        }
        let timeout = environment.timeout()?.unwrap_or(TIMEOUT);
        let (tls, trusted) = tls::connector(&server, environment)?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout).filter(|timeout| !timeout.is_zero()))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .proxy(None)
            // A redirected POST would become a GET, and the token would go to any host that the redirect
            // names.
            .max_redirects(0)
            .build();
        let connector = ().chain(TcpConnector::default()).chain(tls);
        let agent = ureq::Agent::with_parts(config, connector, NamingResolver::default());
        let token = match environment.text("TOKEN")? {
            Some(Variable { name, value }) => {
                Some(Token::new(Zeroizing::new(value), format!("the token in {name}"))?)
            }
            None => match kept::token(&address)? {
                Some(token) => Some(Token::new(token, "the token that `keyway login` has kept".to_owned())?),
                None => None,
            },
        };
        Ok(Self { agent, target: Target { address, trusted, timeout }, token })
    }

    /// The server's address.
    pub(super) fn address(&self) -> &str {
        &self.target.address
    }

    /// Shows this token from now on.
    ///
    /// # Errors
    ///
    /// If it cannot be a token.
    pub(super) fn show(&mut self, token: Zeroizing<String>) -> Result<(), Failure> {
        self.token = Some(Token::new(token, "this token".to_owned())?);
        Ok(())
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.answer(Kind::Read, self.showing_token(self.agent.get(self.url(path))).call())
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Result<Answer, Failure> {
        let request = self.agent.post(self.url(path)).content_type("application/json");
        self.answer(Kind::Change, self.showing_token(request).send(body))
    }

    /// PATCH with a merge patch.
    pub(super) fn patch(&self, path: &str, body: &str) -> Result<Answer, Failure> {
        let request = self.agent.patch(self.url(path)).content_type("application/merge-patch+json");
        self.answer(Kind::Change, self.showing_token(request).send(body))
    }

    pub(super) fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.answer(Kind::Change, self.showing_token(self.agent.delete(self.url(path))).call())
    }

    fn showing_token<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("X-Vault-Token", token.value.as_str()),
            None => request,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.address())
    }

    fn answer(
        &self,
        kind: Kind,
        result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer, Failure> {
        let mut response = result.map_err(|error| self.target.no_answer(kind, &error))?;
        if let Some(elsewhere) =
            response.headers().get("location").filter(|_| response.status().is_redirection())
        {
            let message =
                format!("{} sends to {elsewhere:?}; name the server itself with --address", self.address());
            return Err(Failure::Unavailable(message));
        }
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let text = body.map_err(|error| self.target.broken_answer(kind, &error))?;
        Ok(Answer { status, text, token_from: self.token.as_ref().map(|token| token.from.clone()) })
    }
}

impl Token {
    fn new(value: Zeroizing<String>, from: String) -> Result<Self, Failure> {
        if value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Ok(Self { value, from });
        }
        Err(Failure::Usage(format!("{from} holds a character that no token has, such as a newline")))
    }
}

impl Answer {
    /// The answer's JSON, for any status.
    pub(super) fn json(&self) -> Result<Value, Failure> {
        if self.text.is_empty() {
            return Ok(json!({}));
        }
        serde_json::from_str(&self.text).map_err(|error| {
            Failure::Other(format!("the answer (status {}) is not JSON: {error}", self.status))
        })
    }

    /// Whether it says that there is nothing, and nothing more.
    pub(super) fn is_absent(&self) -> bool {
        let errors = self.json().ok().and_then(|body| body.get("errors").cloned());
        self.status == 404 && errors.is_some_and(|errors| errors.as_array().is_some_and(Vec::is_empty))
    }

    /// The text of the answer's body.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The answer, if it is a success.
    pub(super) fn success(self, doing: &str) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        Err(self.failure(doing))
    }

    /// What the server said instead of doing it.
    pub(super) fn failure(&self, doing: &str) -> Failure {
        let errors: Vec<String> = self
            .json()
            .ok()
            .and_then(|body| serde_json::from_value(body.get("errors")?.clone()).ok())
            .unwrap_or_default();
        let said = errors.join("; ");
        let message = match self.status {
            503 if said.contains("Vault is sealed") => {
                return Failure::Sealed(format!("{doing}: Keyway is sealed; unseal it with `keyway unseal`"));
            }
            403 => match &self.token_from {
                Some(token) => format!("{doing}: {said}; {token} is unknown here, or may not do this"),
                None => format!(
                    "{doing}: {said}; log in with `keyway login`, or set KEYWAY_TOKEN to a token that may"
                ),
            },
            400 if said.starts_with("nothing is mounted") => {
                format!("{doing}: {said}; `keyway mount list` shows what is")
            }
            400 if said.contains("did not match the current version") => {
                format!("{doing}: {said}; read it again, and write with --cas and the version that you read")
            }
            400 if said.contains("check-and-set parameter required") => {
                format!("{doing}: {said}; add --cas with the current version, or --cas 0 for a new secret")
            }
            _ if said.starts_with(UPGRADING) => {
                return Failure::Unavailable(format!("{doing}: {said}; try again in a moment"));
            }
            429 => format!("{doing}: {said}"),
            503 if said.contains("overloaded") => format!("{doing}: {said}; try again in a moment"),
            503 if said.starts_with("backend") => {
                format!(
                    "{doing}: {said}; the server's log says why, and `keyway status --config FILE` what becomes of its plugin"
                )
            }
            404 if said.is_empty() => format!("{doing}: not found"),
            status if said.is_empty() => format!("{doing}: the server answered with status {status}"),
            _ => format!("{doing}: {said}"),
        };
        match self.status {
            400 if said.starts_with("nothing is mounted") => Failure::NotFound(message),
            404 => Failure::NotFound(message),
            400 | 403 | 405 | 413 | 415 => Failure::Refused(message),
            408 | 429 | 502..=504 => Failure::Unavailable(message),
            _ => Failure::Other(message),
        }
    }
}
