//! The client side of the API.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use ureq::{
    RequestBuilder,
    tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem},
};
use zeroize::Zeroizing;

use super::{Server, failure::Failure, kept};

const DEFAULT_ADDRESS: &str = "http://127.0.0.1:8200";
/// Longer than the server takes for a request, by default.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// A server, and the token to show it.
pub(super) struct Client {
    agent: ureq::Agent,
    address: String,
    token: Option<Zeroizing<String>>,
    /// Where the token is from, for people; none where there is none.
    token_from: Option<&'static str>,
}

/// An answer of any status.
pub(super) struct Answer {
    pub(super) status: u16,
    text: String,
    token_from: Option<&'static str>,
}

impl Client {
    /// A client of the server that the arguments name, or the environment.
    pub(super) fn new(server: Server) -> Result<Self, Failure> {
        let variable =
            |names: [&str; 2]| names.iter().find_map(|name| env::var(name).ok().filter(|v| !v.is_empty()));
        let address = server
            .address
            .or_else(|| variable(["KEYWAY_ADDR", "VAULT_ADDR"]))
            .unwrap_or_else(|| DEFAULT_ADDRESS.to_owned());
        if !address.starts_with("http://") && !address.starts_with("https://") {
            let message = format!(
                "{address:?} is no address of a server; write https://HOST:PORT, or http://HOST:PORT"
            );
            return Err(Failure::Usage(message));
        }
        let ca_cert =
            server.ca_cert.or_else(|| variable(["KEYWAY_CACERT", "VAULT_CACERT"]).map(PathBuf::from));
        let file = |given: Option<PathBuf>, names| given.or_else(|| variable(names).map(PathBuf::from));
        let shown = file(server.client_cert, ["KEYWAY_CLIENT_CERT", "VAULT_CLIENT_CERT"]);
        let key = file(server.client_key, ["KEYWAY_CLIENT_KEY", "VAULT_CLIENT_KEY"]);
        let mut tls = TlsConfig::builder();
        if let Some(path) = ca_cert {
            tls = tls.root_certs(trusted(&path)?);
        }
        tls = match (shown, key) {
            (Some(shown), Some(key)) => tls.client_cert(Some(own(&shown, &key)?)),
            (None, None) => tls,
            _ => {
                let message = "a certificate to show needs both --client-cert and --client-key";
                return Err(Failure::Usage(message.to_owned()));
            }
        };
        let tls = tls.build();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .proxy(None)
            // A redirected POST would become a GET, and the token would go wherever it is told to.
            .max_redirects(0)
            .tls_config(tls)
            .build()
            .new_agent();
        let address = address.trim_end_matches('/').to_owned();
        let (token, token_from) = match variable(["KEYWAY_TOKEN", "VAULT_TOKEN"]) {
            Some(token) => (Some(Zeroizing::new(token)), Some("the token in KEYWAY_TOKEN")),
            None => match kept::token(&address)? {
                Some(token) => (Some(token), Some("the token that `keyway login` has kept")),
                None => (None, None),
            },
        };
        Ok(Self { agent, address, token, token_from })
    }

    /// The server's address.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Shows this token from now on.
    pub(super) fn show(&mut self, token: Zeroizing<String>) {
        self.token = Some(token);
        self.token_from = Some("this token");
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.answer(self.showing_token(self.agent.get(self.url(path))).call())
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Result<Answer, Failure> {
        let request = self.agent.post(self.url(path)).content_type("application/json");
        self.answer(self.showing_token(request).send(body))
    }

    /// PATCH with a merge patch.
    pub(super) fn patch(&self, path: &str, body: &str) -> Result<Answer, Failure> {
        let request = self.agent.patch(self.url(path)).content_type("application/merge-patch+json");
        self.answer(self.showing_token(request).send(body))
    }

    pub(super) fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.answer(self.showing_token(self.agent.delete(self.url(path))).call())
    }

    fn showing_token<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("X-Vault-Token", token.as_str()),
            None => request,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.address)
    }

    fn answer(
        &self,
        result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer, Failure> {
        let unavailable = |error: &dyn std::fmt::Display| {
            let hint = if error.to_string().contains("UnknownIssuer") {
                "name the file with the certificate of its authority with --ca-cert"
            } else {
                "is the server running? Start one with `keyway server --config FILE`, or name another with \
                 --address"
            };
            Failure::Unavailable(format!("no answer from {}: {error}; {hint}", self.address))
        };
        let mut response = result.map_err(|error| match error {
            ureq::Error::Timeout(_) => {
                let seconds = TIMEOUT.as_secs();
                Failure::Unavailable(format!(
                    "no answer from {} within {seconds} s; a change may have happened: look before you repeat it",
                    self.address
                ))
            }
            error => unavailable(&error),
        })?;
        if let Some(elsewhere) =
            response.headers().get("location").filter(|_| response.status().is_redirection())
        {
            let message =
                format!("{} sends to {elsewhere:?}; name the server itself with --address", self.address);
            return Err(Failure::Unavailable(message));
        }
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let text = body.map_err(|error| unavailable(&error))?;
        Ok(Answer { status, text, token_from: self.token_from })
    }
}

/// The certificate to show, with its private key.
fn own(certificate: &Path, key: &Path) -> Result<ClientCert, Failure> {
    let certificates = certificates(certificate)?;
    let pem = Zeroizing::new(fs::read(key).map_err(|error| Failure::file("read", key, &error))?);
    let key = PrivateKey::from_pem(&pem).map_err(|error| {
        Failure::Usage(format!("{}: there is no private key in it: {error}", key.display()))
    })?;
    Ok(ClientCert::new_with_certs(&certificates, key))
}

/// The certificates in a PEM file, instead of those that are built in.
fn trusted(path: &Path) -> Result<RootCerts, Failure> {
    Ok(RootCerts::new_with_certs(&certificates(path)?))
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let pem = fs::read(path).map_err(|error| Failure::file("read", path, &error))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Failure::Usage(format!("{}: there is no certificate in it", path.display())));
    }
    Ok(certificates)
}

impl Answer {
    /// The answer's JSON, of whatever status.
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
            503 if said.starts_with("Keyway is sealed") => {
                return Failure::Sealed(format!("{doing}: Keyway is sealed; unseal it with `keyway unseal`"));
            }
            403 => match self.token_from {
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
