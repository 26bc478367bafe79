//! Vault's envelope around what an endpoint answers. Knows the status codes of answers, as `error` those of errors.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use uuid::Uuid;

/// The envelope of every logical response.
#[derive(Serialize)]
struct Envelope<T> {
    request_id: String,
    lease_id: &'static str,
    renewable: bool,
    lease_duration: u64,
    data: T,
    wrap_info: (),
    warnings: (),
    auth: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_type: Option<&'static str>,
}

impl<T> Envelope<T> {
    fn new(id: Uuid, data: T, mount_type: Option<&'static str>) -> Self {
        Self {
            request_id: id.to_string(),
            lease_id: "",
            renewable: false,
            lease_duration: 0,
            data,
            wrap_info: (),
            warnings: (),
            auth: (),
            mount_type,
        }
    }
}

/// 200 with data of a KV mount.
pub(super) fn kv(id: Uuid, data: impl Serialize) -> Response {
    Json(Envelope::new(id, data, Some("kv"))).into_response()
}

/// 404 with data: a deleted version is missing, but its metadata is told.
pub(super) fn kv_deleted(id: Uuid, data: impl Serialize) -> Response {
    (StatusCode::NOT_FOUND, Json(Envelope::new(id, data, Some("kv")))).into_response()
}

/// 200 with data of the system.
pub(super) fn system(id: Uuid, data: impl Serialize) -> Response {
    Json(Envelope::new(id, data, Some("system"))).into_response()
}

/// 200 with a body that has no envelope.
pub(super) fn plain(data: impl Serialize) -> Response {
    Json(data).into_response()
}

/// 200 with measurements in Prometheus' text format.
pub(super) fn metrics(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// 204.
pub(super) fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
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
pub(super) fn health(state: HealthState, query: &str, body: impl Serialize) -> Response {
    let (usual, parameter) = match state {
        HealthState::Active => (StatusCode::OK, "activecode="),
        HealthState::Uninitialised => (StatusCode::NOT_IMPLEMENTED, "uninitcode="),
        HealthState::Sealed => (StatusCode::SERVICE_UNAVAILABLE, "sealedcode="),
        HealthState::StorageDown => return (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response(),
    };
    let wanted = query.split('&').find_map(|pair| pair.strip_prefix(parameter));
    let wanted = wanted.and_then(|code| code.parse().ok()).and_then(|code| StatusCode::from_u16(code).ok());
    (wanted.unwrap_or(usual), Json(body)).into_response()
}
