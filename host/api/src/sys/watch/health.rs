//! How the server and its stores are doing.

use keyway_core::{BackendHealth, HealthReport};
use serde_json::{Map, Value, json};

use super::super::version::VAULT_LEVEL;
use crate::{
    answer::{self, Answer, HealthState},
    error::ApiError,
    route::RequestContext,
};

const NOT_AUDITED: &str = "no audit device accepts a line, and no request is served without one";

/// 200 if secrets can be read and written; else what stands in the way, most basic first.
pub(crate) async fn health(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let call = context.call;
    let HealthReport { seal, storage, audits, was_initialised } = call.core.health(&call.work).await;
    let ready = storage.iter().all(BackendHealth::is_ready);
    let states: Map<String, Value> =
        storage.iter().map(|backend| (backend.backend.clone(), state(backend).into())).collect();
    let (state, known) = match &seal {
        None | Some(Err(_)) => (HealthState::Down, None),
        // Neither making a cluster nor unsealing it happens without a line in the audit log.
        Some(Ok(seal)) if !audits => (HealthState::Down, Some(seal)),
        Some(Ok(seal)) if !seal.initialised => (HealthState::Uninitialised, Some(seal)),
        Some(Ok(seal)) if seal.sealed => (HealthState::Sealed, Some(seal)),
        Some(Ok(seal)) if !ready => (HealthState::Down, Some(seal)),
        Some(Ok(seal)) => (HealthState::Active, Some(seal)),
    };
    let sealed = known.map_or_else(|| call.core.unsealed().is_err(), |seal| seal.sealed);
    let mut body = json!({
        // If the store was never read, this says whether the server knew it as initialised before.
        "initialized": known.map_or(was_initialised, |seal| seal.initialised),
        "sealed": sealed,
        "standby": false,
        "performance_standby": false,
        "replication_performance_mode": "disabled",
        "replication_dr_mode": "disabled",
        "server_time_utc": jiff::Timestamp::now().as_second(),
        "version": VAULT_LEVEL,
        "keyway_version": env!("CARGO_PKG_VERSION"),
        "storage": states,
    });
    let reason = match &seal {
        Some(Err(error)) => Some(error.to_string()),
        _ if !audits => Some(NOT_AUDITED.to_owned()),
        _ => None,
    };
    if let (Some(reason), Some(fields)) = (reason, body.as_object_mut()) {
        fields.insert("reason".to_owned(), reason.into());
    }
    if let (Some(cluster), Some(fields)) = (known.and_then(|seal| seal.cluster), body.as_object_mut()) {
        fields.insert("cluster_name".to_owned(), "keyway".into());
        fields.insert("cluster_id".to_owned(), cluster.to_string().into());
    }
    answer::health(state, |name| call.query(name), body)
}

/// The state in a few words, because a client may ask without a token.
fn state(backend: &BackendHealth) -> String {
    let mut state = match (&backend.health, &backend.down) {
        (Ok(health), _) if health.is_ready() => "ready".to_owned(),
        (Ok(health), _) => format!("not ready: {}", health.detail()),
        (Err(_), Some(down)) => format!("not available: {}", down.summary),
        (Err(error), None) => format!("not available ({})", error.code().name()),
    };
    if backend.fell_back {
        state.push_str("; fallback: not the plugin that the configuration asks for");
    }
    if backend.unchecked {
        state.push_str("; trust SKIPPED (policy none)");
    }
    state
}
