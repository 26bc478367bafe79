//! Mounts: which there are, making them, taking them away.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    core::NewMount,
    http::{answer::Answer, error::ApiError, route::At},
    mounts::{Mount, MountPath, MountTable},
};

#[derive(Deserialize)]
struct MountRequest {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    options: Option<Map<String, Value>>,
    #[serde(default)]
    config: Option<Map<String, Value>>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

pub(super) async fn take_away(at: &At<'_>) -> Result<Answer, ApiError> {
    let path = MountPath::parse(at.name).map_err(ApiError::bad_request)?;
    at.call.core.unmount(at.unsealed()?, at.call.request(), &path).await?;
    Ok(Answer::Nothing)
}

pub(super) async fn one(at: &At<'_>) -> Result<Answer, ApiError> {
    let path = at.name.trim_end_matches('/');
    let table = at.unsealed()?.mounts().current();
    // The words by which Terraform knows that a mount is gone.
    let gone = || ApiError::bad_request(format!("No secret engine mount at {path}/"));
    let mount = table.get(path).ok_or_else(gone)?;
    Ok(Answer::system(mount_answer(mount)))
}

pub(super) async fn make(at: &At<'_>) -> Result<Answer, ApiError> {
    let (call, unsealed) = (at.call, at.unsealed()?);
    let path = MountPath::parse(at.name).map_err(ApiError::bad_request)?;
    let request: MountRequest = at.json()?;
    let options = request.options.unwrap_or_default();
    check_kind(&request.kind, options.get("version")).map_err(ApiError::bad_request)?;
    let said = |name: &str| Err(ApiError::bad_request(format!("{name} is not supported here; leave it out")));
    // Honoured or refused, never ignored.
    if let Some((name, _)) =
        request.config.iter().flatten().chain(&request.other).find(|(_, value)| !says_nothing(value))
    {
        return said(name);
    }
    let mut backend = None;
    for (name, value) in &options {
        match (name.as_str(), value) {
            ("version", _) => {}
            ("backend", Value::String(name)) => backend = Some(name.clone()),
            (name, value) if !says_nothing(value) => return said(&format!("the option {name}")),
            _ => {}
        }
    }
    if let Some(name) = &backend {
        let names = call.core.backend_names();
        if !names.contains(&name.as_str()) {
            let message = format!("there is no backend {name:?}; there are: {}", names.join(", "));
            return Err(ApiError::bad_request(message));
        }
    }
    let new = NewMount { path, backend, description: request.description.unwrap_or_default() };
    call.core.mount(unsealed, call.request(), &new).await?;
    Ok(Answer::Nothing)
}

/// KV version 2 is what there is; Vault's `kv` without a version is version 1.
fn check_kind(kind: &str, version: Option<&Value>) -> Result<(), String> {
    let version = match version {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    match (kind, version.as_deref()) {
        ("kv-v2", None | Some("2")) | ("kv", Some("2")) => Ok(()),
        ("kv" | "kv-v2" | "generic", _) => {
            Err("KV version 1 is not supported; ask for version 2 (options.version, or the type kv-v2)"
                .to_owned())
        }
        _ => Err(format!("there is no secrets engine of type {kind:?}; write kv-v2")),
    }
}

/// What clients send for "as usual".
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => matches!(text.as_str(), "" | "0" | "0s"),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

pub(super) async fn all(at: &At<'_>) -> Result<Answer, ApiError> {
    let (call, table) = (at.call, mount_table(&at.unsealed()?.mounts().current()));
    // Vault's own oddity: the table stands under "data" and at the top level too.
    let mut body = table.clone();
    body.insert("request_id".to_owned(), call.id.to_string().into());
    body.insert("lease_id".to_owned(), "".into());
    body.insert("renewable".to_owned(), false.into());
    body.insert("lease_duration".to_owned(), 0.into());
    for absent in ["wrap_info", "warnings", "auth"] {
        body.insert(absent.to_owned(), Value::Null);
    }
    body.insert("data".to_owned(), Value::Object(table));
    Ok(Answer::plain(body))
}

pub(super) async fn all_for_ui(at: &At<'_>) -> Result<Answer, ApiError> {
    let table = mount_table(&at.unsealed()?.mounts().current());
    Ok(Answer::system(json!({ "auth": {}, "secret": table })))
}

pub(super) async fn one_for_ui(at: &At<'_>) -> Result<Answer, ApiError> {
    let path = at.name.trim_end_matches('/');
    let table = at.unsealed()?.mounts().current();
    let Some((mount_path, mount, _)) = table.resolve(path) else {
        return Err(ApiError::bad_request(format!("nothing is mounted at {path:?}")));
    };
    let mut answer = mount_answer(mount);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("path".to_owned(), format!("{mount_path}/").into());
    }
    Ok(Answer::system(answer))
}

fn mount_table(mounts: &MountTable) -> Map<String, Value> {
    mounts.iter().map(|(path, mount)| (format!("{path}/"), mount_answer(mount))).collect()
}

fn mount_answer(mount: &Mount) -> Value {
    json!({
        "accessor": mount.accessor,
        "config": {
            "default_lease_ttl": 0,
            "force_no_cache": false,
            "max_lease_ttl": 0,
        },
        "backend": mount.backend,
        "deprecation_status": "supported",
        "description": mount.description,
        "external_entropy_access": false,
        "local": false,
        "options": { "version": "2" },
        "plugin_version": "",
        "running_plugin_version": env!("CARGO_PKG_VERSION"),
        "running_sha256": "",
        "seal_wrap": false,
        "type": "kv",
        "uuid": mount.uuid,
    })
}
