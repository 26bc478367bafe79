//! Mounts: lists, makes and removes them. [`remount`] moves them, [`tune`] has the settings of what they give
//! out, and [`ui`] lists them for a token, and for clients without one.

pub(crate) mod describe;
pub(crate) mod remount;
pub(crate) mod tune;
pub(crate) mod ui;

use keyway_core::{
    NewMount,
    mounts::{MountPath, Tune},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::{
    describe::{builtin, cubbyhole, mount_answer, mount_table, system},
    tune::TuneRequest,
};
use crate::{answer::Answer, error::ApiError, given::says_nothing, route::RequestContext};

#[derive(Deserialize)]
struct MountRequest {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    options: Option<Map<String, Value>>,
    #[serde(default)]
    config: Option<TuneRequest>,
}

pub(super) async fn take_away(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let path = MountPath::parse(context.name).map_err(ApiError::bad_request)?;
    context.call.core.mount_control().unmount(context.unsealed()?, &context.call.work, &path).await?;
    Ok(Answer::Nothing)
}

pub(super) async fn one(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let path = context.name.trim_end_matches('/');
    if let Some(told) = builtin(path) {
        return Ok(Answer::flat(told));
    }
    let table = context.unsealed()?.mounts().current();
    // The words by which Terraform knows that a mount is gone.
    let gone = || ApiError::bad_request(format!("No secret engine mount at {path}/"));
    let mount = table.get(path).ok_or_else(gone)?;
    Ok(Answer::flat(mount_answer(mount)))
}

pub(super) async fn make(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (call, unsealed) = (context.call, context.unsealed()?);
    let path = MountPath::parse(context.name).map_err(ApiError::bad_request)?;
    let request: MountRequest = context.json()?;
    let options = request.options.unwrap_or_default();
    let kv_version = kv_version(&request.kind, options.get("version")).map_err(ApiError::bad_request)?;
    let said = |name: &str| Err(ApiError::bad_request(format!("{name} is not supported here; leave it out")));
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
    let mut tune = Tune::default();
    if let Some(config) = &request.config {
        config.apply(&mut tune)?;
    }
    let description = request.description.unwrap_or_default();
    let new = NewMount { path, backend, description, kv_version, tune };
    call.core.mount_control().mount(unsealed, &call.work, &new).await?;
    Ok(Answer::Nothing)
}

/// Vault's `kv` without a version is version 1.
fn kv_version(kind: &str, version: Option<&Value>) -> Result<u8, String> {
    let version = match version {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    match (kind, version.as_deref()) {
        ("kv-v2", None | Some("2")) | ("kv", Some("2")) => Ok(2),
        ("kv-v1", None | Some("1")) | ("kv" | "generic", None | Some("1")) => Ok(1),
        ("kv" | "kv-v1" | "kv-v2" | "generic", _) => {
            Err("there is no such version of kv; write options.version 1 or 2, or the type kv-v2".to_owned())
        }
        _ => Err(format!("there is no secrets engine of type {kind:?}; write kv-v2")),
    }
}

pub(super) async fn all(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let mut table = mount_table(&context.unsealed()?.mounts().current(), |_| true);
    table.insert("cubbyhole/".to_owned(), cubbyhole());
    table.insert("sys/".to_owned(), system());
    Ok(Answer::flat(table))
}
