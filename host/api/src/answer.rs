//! What an endpoint answers, and Vault's envelope around it. Knows the status codes of answers, as `error`
//! those of errors.

use std::{borrow::Cow, collections::BTreeMap};

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{
    Map, Value, json,
    value::{RawValue, to_raw_value},
};
use uuid::Uuid;

use super::error::ApiError;

/// What an endpoint answers.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for a request")]
pub(super) enum Answer {
    /// 204.
    Nothing,
    /// In Vault's envelope.
    Logical(Logical),
    /// A body that has no envelope.
    Plain(Box<RawValue>),
    /// Measurements in Prometheus' text format.
    Metrics(String),
    /// How the server is.
    Health(StatusCode, Box<RawValue>),
}

/// What stands in Vault's envelope. It is kept like this, too, if an answer is wrapped.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Logical {
    pub(super) data: Option<Box<RawValue>>,
    /// Whether the thing is gone and the data holds its metadata: 404 with data.
    pub(super) is_gone: bool,
    /// Whether it is done in the background: 202.
    pub(super) is_accepted: bool,
    /// Whether the data's fields stand at the top, too: Vault's own oddity, of its older endpoints.
    pub(super) is_flat: bool,
    pub(super) mount_type: Option<Cow<'static, str>>,
    /// Of what was renewed.
    pub(super) lease_id: String,
    pub(super) renewable: bool,
    /// In seconds, for data that its readers should read again.
    pub(super) lease_duration: u64,
    /// Warnings for the client, though nothing failed.
    pub(super) warnings: Vec<String>,
    pub(super) auth: Option<Auth>,
    pub(super) wrap_info: Option<WrapInfo>,
}

/// A token that was made or prolonged.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Auth {
    pub(super) client_token: String,
    pub(super) accessor: String,
    pub(super) policies: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) token_policies: Vec<String>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
    /// In seconds.
    pub(super) lease_duration: u64,
    pub(super) renewable: bool,
    pub(super) entity_id: String,
    pub(super) token_type: String,
    pub(super) orphan: bool,
    pub(super) mfa_requirement: (),
    pub(super) num_uses: u64,
}

/// Where an answer is, that was wrapped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WrapInfo {
    pub(super) token: String,
    pub(super) accessor: String,
    /// In seconds.
    pub(super) ttl: u64,
    pub(super) creation_time: String,
    pub(super) creation_path: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub(super) wrapped_accessor: String,
}

/// The envelope of every logical response.
#[derive(Serialize)]
struct Envelope<'a> {
    request_id: String,
    lease_id: &'a str,
    renewable: bool,
    lease_duration: u64,
    data: Option<&'a RawValue>,
    wrap_info: Option<&'a WrapInfo>,
    warnings: Option<&'a [String]>,
    auth: Option<&'a Auth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_type: Option<&'a str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    flat: Option<Map<String, Value>>,
}

impl Answer {
    /// Data of a KV mount.
    pub(super) fn kv(data: impl Serialize) -> Self {
        Self::Logical(Logical::new(data, "kv"))
    }

    /// 404 with data: the version is deleted, and the answer has its metadata.
    pub(super) fn kv_deleted(data: impl Serialize) -> Self {
        Self::Logical(Logical { is_gone: true, ..Logical::new(data, "kv") })
    }

    /// Data of the system.
    pub(super) fn system(data: impl Serialize) -> Self {
        Self::Logical(Logical::new(data, "system"))
    }

    /// Data of the system, whose fields stand at the top, too.
    pub(super) fn flat(data: impl Serialize) -> Self {
        Self::Logical(Logical { is_flat: true, ..Logical::new(data, "system") })
    }

    /// A token.
    pub(super) fn token(auth: Auth, warnings: Vec<String>) -> Self {
        Self::Logical(Logical {
            auth: Some(auth),
            warnings,
            mount_type: Some("token".into()),
            ..Logical::default()
        })
    }

    /// Names; 404 if there are none.
    pub(super) fn names(names: &[String]) -> Result<Self, ApiError> {
        if names.is_empty() {
            return Err(ApiError::NotFound);
        }
        Ok(Self::system(json!({ "keys": names })))
    }

    /// Names in a folder and in all folders below; without any, the answer is empty, as OpenBao has it.
    pub(super) fn scanned(names: &[String]) -> Self {
        if names.is_empty() { Self::kv(json!({})) } else { Self::kv(json!({ "keys": names })) }
    }

    /// 404 with what to do instead.
    pub(super) fn hint(hint: String) -> Self {
        Self::Logical(Logical { is_gone: true, warnings: vec![hint], ..Logical::default() })
    }

    /// A body that has no envelope.
    pub(super) fn plain(data: impl Serialize) -> Self {
        Self::Plain(raw(data))
    }

    /// 202: it is done in the background.
    pub(super) fn accepted(warning: &str) -> Self {
        Self::Logical(Logical { is_accepted: true, warnings: vec![warning.to_owned()], ..Logical::default() })
    }

    /// How long its data is.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Logical(logical) => logical.data.as_ref().map_or(0, |data| data.get().len()),
            Self::Plain(body) | Self::Health(_, body) => body.get().len(),
            Self::Metrics(text) => text.len(),
        }
    }

    /// With one more warning, if there is one. An answer without a body gets one.
    pub(super) fn warning(self, warning: Option<String>) -> Self {
        let Some(warning) = warning else { return self };
        match self {
            Self::Nothing => Self::Logical(Logical { warnings: vec![warning], ..Logical::default() }),
            Self::Logical(mut logical) => {
                logical.warnings.push(warning);
                Self::Logical(logical)
            }
            Self::Plain(body) => Self::Plain(warned(body, warning)),
            Self::Health(status, body) => Self::Health(status, warned(body, warning)),
            // A comment of Prometheus' text format.
            Self::Metrics(text) => Self::Metrics(format!("# {warning}\n{text}")),
        }
    }

    /// The answer as it is sent.
    pub(super) fn into_response(self, id: Uuid) -> Response {
        match self {
            Self::Nothing => StatusCode::NO_CONTENT.into_response(),
            Self::Logical(logical) => logical.into_response(id),
            Self::Plain(body) => Json(body).into_response(),
            Self::Metrics(text) => {
                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
            }
            Self::Health(status, body) => (status, Json(body)).into_response(),
        }
    }
}

impl Logical {
    fn new(data: impl Serialize, mount_type: &'static str) -> Self {
        Self { data: Some(raw(data)), mount_type: Some(mount_type.into()), ..Self::default() }
    }

    fn flat(&self) -> Option<Map<String, Value>> {
        let data = self.data.as_ref().filter(|_| self.is_flat)?;
        serde_json::from_str(data.get()).ok()
    }

    fn into_response(self, id: Uuid) -> Response {
        let status = match (self.is_gone, self.is_accepted) {
            (true, _) => StatusCode::NOT_FOUND,
            (false, true) => StatusCode::ACCEPTED,
            (false, false) => StatusCode::OK,
        };
        let envelope = Envelope {
            request_id: id.to_string(),
            lease_id: &self.lease_id,
            renewable: self.renewable,
            lease_duration: self.lease_duration,
            data: self.data.as_deref(),
            wrap_info: self.wrap_info.as_ref(),
            warnings: Some(self.warnings.as_slice()).filter(|warnings| !warnings.is_empty()),
            auth: self.auth.as_ref(),
            mount_type: self.mount_type.as_deref(),
            flat: self.flat(),
        };
        (status, Json(envelope)).into_response()
    }
}

/// A body without an envelope, with a warning next to its fields.
fn warned(body: Box<RawValue>, warning: String) -> Box<RawValue> {
    match serde_json::from_str::<Map<String, Value>>(body.get()) {
        Ok(mut fields) => {
            fields.insert("warnings".to_owned(), json!([warning]));
            raw(fields)
        }
        Err(_) => body,
    }
}

fn raw(data: impl Serialize) -> Box<RawValue> {
    to_raw_value(&data).expect("answers are plain data")
}

/// How the server is, most basic first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HealthState {
    /// It serves.
    Active,
    /// There is no cluster.
    Uninitialised,
    /// The server is sealed.
    Sealed,
    /// A store does not serve, or nothing can be audited. Nothing overrides its status.
    Down,
}

/// The parameters of the health endpoint that are status codes.
const CODES: [&str; 6] =
    ["activecode", "standbycode", "sealedcode", "uninitcode", "drsecondarycode", "performancestandbycode"];
/// Query parameters that are truth values. There is no standby, so they change nothing.
const TRUTHS: [&str; 2] = ["standbyok", "perfstandbyok"];

/// The answer of the health endpoint, with the status that the query wants instead of the usual one.
///
/// # Errors
///
/// If the query asks for a status that is none, or holds no truth value.
pub(super) fn health(
    state: HealthState,
    wanted: impl Fn(&str) -> Option<String>,
    body: Value,
) -> Result<Answer, ApiError> {
    // Below 200 no status ends a request.
    let status = |code: String| {
        let code = code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
        code.filter(|code| !code.is_informational())
    };
    for parameter in CODES {
        if wanted(parameter).is_some_and(|code| status(code).is_none()) {
            return Err(ApiError::bad_request(format!("{parameter} is not a status code")));
        }
    }
    for parameter in TRUTHS {
        // The name alone says yes.
        if wanted(parameter).is_some_and(|truth| !truth.is_empty() && parse_bool(&truth).is_none()) {
            return Err(ApiError::bad_request(format!("{parameter} is neither true nor false")));
        }
    }
    let (usual, parameter) = match state {
        HealthState::Active => (StatusCode::OK, "activecode"),
        HealthState::Uninitialised => (StatusCode::NOT_IMPLEMENTED, "uninitcode"),
        HealthState::Sealed => (StatusCode::SERVICE_UNAVAILABLE, "sealedcode"),
        HealthState::Down => return Ok(Answer::Health(StatusCode::SERVICE_UNAVAILABLE, raw(body))),
    };
    Ok(Answer::Health(wanted(parameter).and_then(status).unwrap_or(usual), raw(body)))
}

/// What Go's ParseBool takes.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
