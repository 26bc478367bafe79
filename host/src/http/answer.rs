//! What an endpoint answers, and Vault's envelope around it. Knows the status codes of answers, as `error` those of errors.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use uuid::Uuid;

/// What an endpoint answers.
#[derive(Debug)]
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

/// What stands in Vault's envelope.
#[derive(Debug)]
pub(super) struct Logical {
    pub(super) data: Option<Box<RawValue>>,
    /// Whether what was asked for is gone, and this is what is known of it: 404 with data.
    pub(super) is_gone: bool,
    pub(super) mount_type: Option<&'static str>,
    /// In seconds, for data that its readers should read again.
    pub(super) lease_duration: u64,
    /// What is worth telling, though nothing failed.
    pub(super) warnings: Vec<String>,
}

/// The envelope of every logical response.
#[derive(Serialize)]
struct Envelope<'a> {
    request_id: String,
    lease_id: &'static str,
    renewable: bool,
    lease_duration: u64,
    data: Option<&'a RawValue>,
    wrap_info: (),
    warnings: Option<&'a [String]>,
    auth: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_type: Option<&'static str>,
}

impl Answer {
    /// Data of a KV mount.
    pub(super) fn kv(data: impl Serialize) -> Self {
        Self::Logical(Logical::new(data, "kv"))
    }

    /// 404 with data: a deleted version is missing, but its metadata is told.
    pub(super) fn kv_deleted(data: impl Serialize) -> Self {
        Self::Logical(Logical { is_gone: true, ..Logical::new(data, "kv") })
    }

    /// Data of the system.
    pub(super) fn system(data: impl Serialize) -> Self {
        Self::Logical(Logical::new(data, "system"))
    }

    /// A body that has no envelope.
    pub(super) fn plain(data: impl Serialize) -> Self {
        Self::Plain(raw(data))
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
        Self {
            data: Some(raw(data)),
            is_gone: false,
            mount_type: Some(mount_type),
            lease_duration: 0,
            warnings: Vec::new(),
        }
    }

    fn into_response(self, id: Uuid) -> Response {
        let status = if self.is_gone { StatusCode::NOT_FOUND } else { StatusCode::OK };
        let envelope = Envelope {
            request_id: id.to_string(),
            lease_id: "",
            renewable: false,
            lease_duration: self.lease_duration,
            data: self.data.as_deref(),
            wrap_info: (),
            warnings: Some(self.warnings.as_slice()).filter(|warnings| !warnings.is_empty()),
            auth: (),
            mount_type: self.mount_type,
        };
        (status, Json(envelope)).into_response()
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
    /// The keys are out of reach.
    Sealed,
    /// A store does not serve. Nothing overrides its status.
    StorageDown,
}

/// The answer of the health endpoint, with the status that the query wants instead of the usual one.
pub(super) fn health(state: HealthState, wanted: impl Fn(&str) -> Option<String>, body: Value) -> Answer {
    let (usual, parameter) = match state {
        HealthState::Active => (StatusCode::OK, "activecode"),
        HealthState::Uninitialised => (StatusCode::NOT_IMPLEMENTED, "uninitcode"),
        HealthState::Sealed => (StatusCode::SERVICE_UNAVAILABLE, "sealedcode"),
        HealthState::StorageDown => return Answer::Health(StatusCode::SERVICE_UNAVAILABLE, raw(body)),
    };
    let wanted = wanted(parameter).and_then(|code| code.parse().ok());
    let wanted = wanted.and_then(|code| StatusCode::from_u16(code).ok());
    Answer::Health(wanted.unwrap_or(usual), raw(body))
}
