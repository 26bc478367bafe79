//! Keyway's own: the backends that are configured, what they promise and how they are; [`swap`] has another
//! generation serve.

pub(crate) mod swap;

use keyway_loader::{Capabilities, Down, Generation};
use keyway_storage::{Storage, breaker::Circuit};
use serde_json::{Map, Value, json};

use crate::{answer::Answer, call::Call, error::ApiError, route::RequestContext};

/// All of them.
pub(crate) async fn all(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let call = context.call;
    let mut backends = Map::new();
    for storage in call.core.backends() {
        backends.insert(storage.name().to_owned(), describe(call, storage).await);
    }
    Ok(Answer::system(json!({ "backends": backends })))
}

/// One of them.
pub(crate) async fn one(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let storage = exists(context)?;
    Ok(Answer::system(describe(context.call, storage).await))
}

/// The backend that the path names.
fn exists<'a>(context: &RequestContext<'a>) -> Result<&'a Storage, ApiError> {
    let (core, name) = (&context.call.core, context.name);
    core.backends().find(|storage| storage.name() == name).ok_or_else(|| {
        let names = core.backend_names().join(", ");
        ApiError::NoRoute(format!("there is no backend {name:?}; there are: {names}"))
    })
}

async fn describe(call: &Call, storage: &Storage) -> Value {
    let mut described = match storage.generation() {
        Ok(open) => describe_open(call, storage, &open).await,
        Err(down) => describe_down(&down),
    };
    if let Some(fields) = described.as_object_mut() {
        let last = call.core.swapping().last(storage.name()).map(|last| {
            json!({ "time": last.time, "by": last.by.name(), "outcome": last.outcome, "detail": last.detail })
        });
        fields.insert("last_swap".to_owned(), last.unwrap_or_default());
        fields.insert("draining".to_owned(), storage.slot().draining().into());
    }
    described
}

async fn describe_open(call: &Call, storage: &Storage, open: &Generation) -> Value {
    let plugin = open.plugin();
    let descriptor = plugin.descriptor();
    let health = match storage.health(&call.work).await {
        Ok(health) => json!({
            "live": health.is_live(),
            "readable": health.is_readable(),
            "writable": health.is_writable(),
            "latency_us": health.latency_us(),
            "detail": health.detail(),
        }),
        Err(error) => json!({
            "live": false,
            "readable": false,
            "writable": false,
            "detail": format!("not available ({})", error.code().name()),
        }),
    };
    json!({
        "plugin": descriptor.name,
        "version": descriptor.version.to_string(),
        // None if it is linked.
        "digest": plugin.digest().map(|digest| digest.to_string()),
        "trust": plugin.grant().map(ToString::to_string),
        "fallback": open.fallback(),
        "generation": open.number(),
        "circuit": match storage.circuit() {
            Circuit::Closed => "closed",
            Circuit::HalfOpen => "half-open",
            Circuit::Open => "open",
        },
        "health": health,
        "capabilities": capabilities(&open.capabilities()),
    })
}

/// Of a backend that is not open there is only that, and why.
fn describe_down(down: &Down) -> Value {
    json!({
        "plugin": null,
        "version": null,
        "digest": null,
        "trust": null,
        "fallback": null,
        "generation": null,
        "circuit": "closed",
        "health": {
            "live": false, "readable": false, "writable": false, "latency_us": null, "detail": down.summary,
        },
        "reason": down.reason,
        "capabilities": null,
    })
}

fn capabilities(capabilities: &Capabilities) -> Value {
    json!({
        "features": capabilities.features.names(),
        "durability": capabilities.durability.name(),
        "isolation": capabilities.isolation.name(),
        "data_format": capabilities.data_format,
        "limits": {
            "key_bytes": capabilities.limits.key_bytes,
            "value_bytes": capabilities.limits.value_bytes,
            "batch_ops": capabilities.limits.batch_ops,
            "batch_bytes": capabilities.limits.batch_bytes,
        },
    })
}
