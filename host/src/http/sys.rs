//! The system's endpoints: [`seal`] (init, unseal, seal, rotate), [`mounts`], [`backends`], [`health`], [`metrics`].

mod backends;
mod health;
mod metrics;
mod mounts;
mod seal;

use axum::{body::Body, response::Response};

use super::{Action, Call, error::ApiError};

/// The level of Vault's protocol that is spoken: clients switch features on by it. Keyway's own version stands beside it.
const VAULT_LEVEL: &str = "1.15.0";

pub(super) async fn dispatch(call: &Call, body: Body) -> Result<Response, ApiError> {
    let endpoint = call.path.as_str().trim_end_matches('/');
    call.route.is(route(endpoint));
    match (endpoint, call.action) {
        ("sys/health", Action::Read) => Ok(health::health(call).await),
        ("sys/seal-status", Action::Read) => seal::status(call).await,
        ("sys/leader", Action::Read) => Ok(seal::leader()),
        ("sys/init", Action::Read) => seal::is_initialised(call).await,
        ("sys/init", Action::Write) => seal::init(call, body).await,
        ("sys/unseal", Action::Write) => seal::unseal(call, body).await,
        ("sys/seal", Action::Write) => seal::seal(call).await,
        ("sys/rotate", Action::Write) => seal::rotate(call).await,
        ("sys/metrics", Action::Read) => metrics::metrics(call).await,
        ("sys/backends", Action::Read) => backends::all(call).await,
        ("sys/mounts", Action::Read) => mounts::all(call).await,
        ("sys/internal/ui/mounts", Action::Read) => mounts::all_for_ui(call).await,
        _ => {
            if let Some(path) = endpoint.strip_prefix("sys/internal/ui/mounts/") {
                return mounts::dispatch_ui(call, path).await;
            }
            if let Some(name) = endpoint.strip_prefix("sys/backends/") {
                return backends::dispatch(call, name).await;
            }
            if let Some(path) = endpoint.strip_prefix("sys/mounts/") {
                return mounts::dispatch(call, body, path).await;
            }
            if ENDPOINTS.contains(&endpoint) {
                return Err(ApiError::MethodNotAllowed);
            }
            Err(ApiError::NoRoute(format!("no handler for route {endpoint:?}")))
        }
    }
}

/// The endpoints that have no name in their path.
const ENDPOINTS: [&str; 11] = [
    "sys/health",
    "sys/seal-status",
    "sys/leader",
    "sys/init",
    "sys/unseal",
    "sys/seal",
    "sys/rotate",
    "sys/mounts",
    "sys/metrics",
    "sys/backends",
    "sys/internal/ui/mounts",
];

/// The endpoint for the measurements.
fn route(path: &str) -> &'static str {
    match ENDPOINTS.iter().find(|endpoint| **endpoint == path) {
        Some(endpoint) => endpoint,
        None if path.starts_with("sys/mounts/") => "sys/mounts/{path}",
        None if path.starts_with("sys/internal/ui/mounts/") => "sys/internal/ui/mounts/{path}",
        None if path.starts_with("sys/backends/") => "sys/backends/{name}",
        None => "none",
    }
}
