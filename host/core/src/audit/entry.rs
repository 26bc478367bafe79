//! What a line says, in the shape that Vault's audit log has.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// A line, but for its place in the chain.
#[derive(Serialize)]
pub struct Entry<'a> {
    /// When, in RFC 3339.
    pub time: String,
    /// `request` before anything happens, `response` before the answer is sent.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Who asks; none if the request has no valid token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<&'a Auth>,
    /// The request.
    pub request: &'a Request,
    /// The response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// Why it is refused or has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A token: who asks, or what was given out.
#[derive(Clone, Serialize)]
pub struct Auth {
    /// Its hash.
    pub client_token: String,
    /// The hash of its accessor.
    pub accessor: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// Its policies.
    pub policies: Vec<String>,
    /// The same: there are no identities.
    pub token_policies: Vec<String>,
    /// Its metadata, as given when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// `service`.
    pub token_type: &'static str,
    /// Whether it may, if it asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_results: Option<PolicyResults>,
}

/// Whether a token may.
#[derive(Clone, Copy, Serialize)]
pub struct PolicyResults {
    /// Whether it may.
    pub allowed: bool,
}

/// A request.
#[derive(Clone, Serialize)]
pub struct Request {
    /// The request's number; the client gets it too.
    pub id: String,
    /// `read`, `update`, `patch`, `delete`, `list` or `scan`.
    pub operation: &'static str,
    /// The mount that the path lies in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mount_point: String,
    /// What kind of mount.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mount_type: String,
    /// The hash of the token that was shown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_token: String,
    /// The hash of its accessor.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_token_accessor: String,
    /// The path.
    pub path: String,
    /// The fields of the body, or of the query, as hashes. None if the server is sealed, and has no key to
    /// hash with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Whence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote_address: String,
    /// Whence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
    /// For how many seconds the answer is to be wrapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrap_ttl: Option<u64>,
}

/// A response.
#[derive(Default, Serialize)]
pub struct Response {
    /// As hashes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// A token that was made or prolonged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Where the answer lies that was wrapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrap_info: Option<Wrapped>,
}

/// A wrapping.
#[derive(Serialize)]
pub struct Wrapped {
    /// The hash of its token.
    pub token: String,
    /// The hash of that token's accessor.
    pub accessor: String,
    /// In seconds.
    pub ttl: u64,
    /// What was asked for.
    pub creation_path: String,
    /// The hash of the accessor of a token that is in it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wrapped_accessor: String,
}

impl Entry<'_> {
    /// As a JSON object.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("an entry is plain data")
    }
}
