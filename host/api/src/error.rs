//! Errors as a client gets them. This module knows the status codes of errors, as `answer` those of answers;
//! operators find the details in the log.

use std::time::Duration;

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use keyway_core::{
    CoreError,
    barrier::BarrierError,
    mounts::MountError,
    policy::PolicyError,
    seal::{InitError, SealRecordError, marker::MarkerError},
    secrets::{EngineError, merge::MergeError, record::RecordError},
    system::SystemError,
    token::TokenError,
};
use keyway_loader::{Chain, ErrorCode, Fix, SwapError};
use keyway_storage::StorageError;
use serde_json::json;

/// An error as a client sees it.
#[derive(Debug, Clone)]
pub(super) enum ApiError {
    /// The request is wrong.
    BadRequest(String),
    /// No token, or one that may not.
    PermissionDenied,
    /// A token that may, and something else that may not.
    Forbidden(String),
    /// There is nothing here, and this is why.
    Absent(String),
    /// There is nothing here; Vault's shape is an empty list.
    NotFound,
    /// There is no such endpoint or mount.
    NoRoute(String),
    /// Not with this method.
    MethodNotAllowed,
    /// The body is too long.
    TooLarge(String),
    /// The URI is too long.
    UriTooLong(String),
    /// The headers are too long.
    HeadersTooLarge(String),
    /// A body of another kind than the method takes.
    UnsupportedMediaType(String),
    /// The server is sealed.
    Sealed,
    /// The store does not serve; another try may succeed, at once or after this number of seconds.
    Unavailable { message: String, retry_after_s: Option<u64> },
    /// The client asks too often; it may ask again after this number of seconds.
    TooMany { message: String, retry_after_s: u64 },
    /// The client took too long to send its body.
    Timeout(String),
    /// Something is broken.
    Internal(String),
    /// It cannot be written down what happens.
    NotAudited(String),
}

impl ApiError {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::BadRequest(message.into())
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into(), retry_after_s: None }
    }

    /// Nothing was done, because too much is going on.
    pub(super) fn overloaded(what: &str) -> Self {
        let message = format!("the server is overloaded: {what}; nothing was done");
        Self::Unavailable { message, retry_after_s: Some(1) }
    }

    pub(super) fn body_timeout(pause: Duration) -> Self {
        Self::Timeout(format!("no more of the body came within {} s", pause.as_secs()))
    }

    /// The request was given up in the middle.
    pub(super) fn too_slow(deadline: Duration) -> Self {
        let seconds = deadline.as_secs();
        Self::unavailable(format!("the request took longer than {seconds} s; a change may have happened"))
    }

    fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Unavailable { retry_after_s, .. } => *retry_after_s,
            Self::TooMany { retry_after_s, .. } => Some(*retry_after_s),
            _ => None,
        }
    }

    /// The client's text, as one line.
    pub(super) fn message(&self) -> String {
        let (status, messages) = self.parts();
        let reason = || status.canonical_reason().unwrap_or_default().to_lowercase();
        if messages.is_empty() { reason() } else { messages.join("; ") }
    }

    fn parts(&self) -> (StatusCode, Vec<String>) {
        match self.clone() {
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, vec![message]),
            Self::PermissionDenied => (StatusCode::FORBIDDEN, vec!["permission denied".to_owned()]),
            Self::Forbidden(message) => (StatusCode::FORBIDDEN, vec![message]),
            Self::Absent(message) => (StatusCode::NOT_FOUND, vec![message]),
            Self::NotFound => (StatusCode::NOT_FOUND, Vec::new()),
            Self::NoRoute(message) => (StatusCode::NOT_FOUND, vec![message]),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, vec!["unsupported operation".to_owned()])
            }
            Self::TooLarge(message) => (StatusCode::PAYLOAD_TOO_LARGE, vec![message]),
            Self::UriTooLong(message) => (StatusCode::URI_TOO_LONG, vec![message]),
            Self::HeadersTooLarge(message) => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, vec![message]),
            Self::UnsupportedMediaType(message) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, vec![message]),
            // Clients look for this text.
            Self::Sealed => (StatusCode::SERVICE_UNAVAILABLE, vec!["Vault is sealed".to_owned()]),
            Self::Unavailable { message, .. } => (StatusCode::SERVICE_UNAVAILABLE, vec![message]),
            Self::TooMany { message, .. } => (StatusCode::TOO_MANY_REQUESTS, vec![message]),
            Self::Timeout(message) => (StatusCode::REQUEST_TIMEOUT, vec![message]),
            Self::Internal(message) | Self::NotAudited(message) => {
                (StatusCode::INTERNAL_SERVER_ERROR, vec![message])
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let retry_after_s = self.retry_after_s();
        let (status, errors) = self.parts();
        let mut response = (status, Json(json!({ "errors": errors }))).into_response();
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        tracing::error!(error = %Chain(&error), "storage failed");
        let backend = error.backend();
        let code = error.code();
        if code == ErrorCode::TOO_LARGE {
            return Self::TooLarge(format!("the secret is larger than backend {backend:?} takes"));
        }
        let unknown = if error.is_unknown() { "; the change may have happened" } else { "" };
        if error.is_transient() {
            return Self::Unavailable {
                message: format!("backend {backend:?} is not available ({}){unknown}", code.name()),
                retry_after_s: error.retry_after().map(|after| after.as_secs_f64().ceil() as u64),
            };
        }
        Self::Internal(format!("backend {backend:?} failed ({}){unknown}", code.name()))
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::CasMismatch { .. }
            | EngineError::CasRequired
            | EngineError::Metadata { .. }
            | EngineError::Merge(MergeError::Patch)
            | EngineError::TooMany => Self::BadRequest(error.to_string()),
            EngineError::Merge(MergeError::Target) => logged(&error, error.to_string()),
            EngineError::Contended => Self::unavailable(error.to_string()),
            EngineError::Storage(error) => error.into(),
            EngineError::Record(RecordError::Barrier { source, .. }) | EngineError::Barrier(source) => {
                source.into()
            }
            // The text names the record. The client named it first, so it learns nothing.
            EngineError::Record(_) => logged(&error, error.to_string()),
            EngineError::ForeignKey { .. } | EngineError::Random(_) => internal(&error),
        }
    }
}

impl From<BarrierError> for ApiError {
    fn from(error: BarrierError) -> Self {
        match error {
            BarrierError::Storage(error) | BarrierError::SealRecord(SealRecordError::Storage(error)) => {
                error.into()
            }
            BarrierError::Contended | BarrierError::Rekeyed => Self::unavailable(error.to_string()),
            BarrierError::NoSealRecord { .. }
            | BarrierError::UseRecord { .. }
            | BarrierError::SealRecord(_) => logged(&error, error.to_string()),
            BarrierError::Open(_) | BarrierError::Seal(_) | BarrierError::Rotate(_) => internal(&error),
        }
    }
}

impl From<SystemError> for ApiError {
    fn from(error: SystemError) -> Self {
        match error {
            SystemError::Storage(error) => error.into(),
            SystemError::Barrier(error) => error.into(),
            SystemError::Contended => Self::unavailable(error.to_string()),
            // The text names the record.
            SystemError::Unopenable { .. } => logged(&error, error.to_string()),
        }
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Refused(refusal) => Self::BadRequest(refusal.to_string()),
            TokenError::System(error) => error.into(),
            TokenError::Barrier(error) => error.into(),
            TokenError::Storage(error) => error.into(),
            TokenError::Random(_) => internal(&error),
        }
    }
}

impl From<PolicyError> for ApiError {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::System(error) => error.into(),
            PolicyError::Interrupted => Self::unavailable(error.to_string()),
            PolicyError::Malformed { .. }
            | PolicyError::CasRequired
            | PolicyError::CasExists
            | PolicyError::CasMismatch { .. }
            | PolicyError::Reserved { .. } => Self::BadRequest(error.to_string()),
        }
    }
}

impl From<CoreError> for ApiError {
    fn from(error: CoreError) -> Self {
        match error {
            CoreError::Sealed => Self::Sealed,
            CoreError::PermissionDenied => Self::PermissionDenied,
            CoreError::NotInitialised => Self::BadRequest("Keyway is not initialised".to_owned()),
            CoreError::Busy => Self::Unavailable { message: error.to_string(), retry_after_s: Some(1) },
            CoreError::Ceremony(_) | CoreError::AuditDevice(_) => Self::BadRequest(error.to_string()),
            CoreError::WrongPassword | CoreError::NoPasswords => Self::BadRequest(error.to_string()),
            CoreError::Password(_) | CoreError::Reencryption { .. } => internal(&error),
            CoreError::WrongShare | CoreError::SharesReplaced | CoreError::Init(InitError::NeverUnsealed) => {
                Self::BadRequest(error.to_string())
            }
            CoreError::Init(InitError::AlreadyInitialised) => {
                Self::BadRequest("Keyway is already initialised".to_owned())
            }
            CoreError::Init(InitError::Storage(error))
            | CoreError::SealRecord(SealRecordError::Storage(error))
            | CoreError::Init(InitError::SealRecord(SealRecordError::Storage(error)))
            | CoreError::Mounts(MountError::Storage(error)) => error.into(),
            CoreError::Token(error) => error.into(),
            CoreError::Policy(error) => error.into(),
            CoreError::System(error) => error.into(),
            // The texts name the record.
            CoreError::Mounts(MountError::Barrier(BarrierError::Open(_))) => {
                logged(&error, error.to_string())
            }
            CoreError::Barrier(error) | CoreError::Mounts(MountError::Barrier(error)) => error.into(),
            CoreError::Mounts(MountError::Contended | MountError::Interrupted) => {
                Self::unavailable(error.to_string())
            }
            CoreError::Mounts(
                MountError::InUse { .. }
                | MountError::Hides { .. }
                | MountError::BadPath { .. }
                | MountError::Gone { .. },
            ) => Self::BadRequest(error.to_string()),
            CoreError::Swap(error) => swap_error("not swapped", &error, ""),
            CoreError::Upgrade(error) => swap_error("not upgraded", &error, ""),
            CoreError::SwapAfterUpgrade { swap, archive } => {
                let found = format!(". The backup from before the upgrade is {}", archive.display());
                swap_error("not swapped", &swap, &found)
            }
            CoreError::NotFromPlugins
            | CoreError::DiscardsSystem
            | CoreError::NotConfigured
            | CoreError::Configured { .. }
            | CoreError::NotForgotten { .. } => Self::BadRequest(error.to_string()),
            CoreError::Marker(
                MarkerError::Storage(error) | MarkerError::SealRecord(SealRecordError::Storage(error)),
            ) => error.into(),
            // An operator can mend these; nothing is wrong with the request, and nothing is absent.
            CoreError::NoBackend { .. }
            | CoreError::ReadsStale { .. }
            | CoreError::Lost { .. }
            | CoreError::SecretsLost { .. }
            | CoreError::Foreign { .. }
            | CoreError::NotTheSystems { .. } => unavailable(&error),
            CoreError::Mounts(MountError::Moved { .. })
            | CoreError::Marker(_)
            | CoreError::KeysDoNotOpen
            | CoreError::SealRecord(_) => logged(&error, error.to_string()),
            CoreError::Init(_) => internal(&error),
        }
    }
}

/// A caller with the right to swap may see all details.
fn swap_error(what: &str, error: &SwapError, more: &str) -> ApiError {
    let message = format!("{what}: {}; {}{more}", Chain(error), error.fix());
    match error {
        SwapError::Busy | SwapError::Stopping => ApiError::unavailable(message),
        error if error.is_refusal() => ApiError::BadRequest(message),
        _ => ApiError::Internal(message),
    }
}

/// An error whose text an operator needs to see at the client too.
fn logged(error: &dyn std::error::Error, message: String) -> ApiError {
    tracing::error!(error = %Chain(error), "request failed");
    ApiError::Internal(message)
}

/// A store that cannot be used as it is, and why.
fn unavailable(error: &dyn std::error::Error) -> ApiError {
    tracing::error!(error = %Chain(error), "request failed");
    ApiError::unavailable(error.to_string())
}

/// An error whose text stays in the log.
fn internal(error: &dyn std::error::Error) -> ApiError {
    logged(error, "internal error; the log has the details".to_owned())
}
