//! Audit devices: which there are, adding and removing them, and the hashes that stand in their lines.

use std::collections::BTreeMap;

use keyway_core::audit::{Device, redact::Hashes, spec::DeviceRecord};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{answer::Answer, error::ApiError, route::RequestContext};

#[derive(Deserialize)]
struct EnableRequest {
    #[serde(rename = "type")]
    kind: Option<String>,
    description: Option<String>,
    options: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct HashRequest {
    input: Option<String>,
}

pub(super) async fn all(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let audit = context.call.core.audit();
    let devices = audit.devices();
    let told = devices.iter().map(|device| {
        let name = &device.spec().name;
        (format!("{name}/"), told(device, audit.is_configured(name)))
    });
    Ok(Answer::flat(told.collect::<Map<_, _>>()))
}

fn told(device: &Device, is_configured: bool) -> Value {
    let (spec, figures) = (device.spec(), device.figures());
    json!({
        "type": spec.kind(),
        "description": spec.description,
        "path": format!("{}/", spec.name),
        "options": spec.options(),
        "local": false,
        "configured": is_configured,
        "is_up": figures.is_up,
        "line": figures.chain.line,
        "hash": figures.chain.hash,
    })
}

pub(super) async fn enable(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: EnableRequest = context.json()?;
    let mut options = BTreeMap::new();
    for (name, value) in request.options.unwrap_or_default() {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(ApiError::bad_request(format!("the option {name} is no text")));
            }
        };
        options.insert(name, text);
    }
    let device = DeviceRecord {
        name: name(context).to_owned(),
        kind: request.kind.unwrap_or_default(),
        description: request.description.unwrap_or_default(),
        options,
    };
    context.call.core.audit_devices().add(&context.call.work, device).await?;
    Ok(Answer::Nothing)
}

pub(super) async fn disable(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    context.call.core.audit_devices().remove(&context.call.work, name(context)).await?;
    Ok(Answer::Nothing)
}

/// The hash that a text has in the lines of a device.
pub(super) async fn hash(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: HashRequest = context.json()?;
    let input = request.input.filter(|input| !input.is_empty());
    let input = input.ok_or_else(|| ApiError::bad_request("the \"input\" parameter is empty"))?;
    let devices = context.call.core.audit().devices();
    if !devices.iter().any(|device| device.spec().name == name(context)) {
        return Err(ApiError::bad_request(format!("unknown audit backend {:?}", name(context))));
    }
    let hash = Hashes::new(context.unsealed()?.barrier()).text(&input);
    Ok(Answer::flat(json!({ "hash": hash })))
}

fn name<'a>(context: &'a RequestContext<'_>) -> &'a str {
    context.name.trim_matches('/')
}
