//! Auth methods: which there are, enabling and disabling them.

use keyway_core::mounts::{
    AuthMount, MountPath,
    auth::{APPROLE, TOKEN},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::mounts::{describe, tune::TuneRequest};
use crate::{answer::Answer, error::ApiError, route::RequestContext};

#[derive(Deserialize)]
struct EnableRequest {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    config: Option<TuneRequest>,
}

pub(crate) async fn all(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::flat(table(context)?))
}

/// All auth methods by path.
pub(crate) fn table(context: &RequestContext<'_>) -> Result<Map<String, Value>, ApiError> {
    let all = context.unsealed()?.mounts().current().auth().all();
    Ok(all.iter().map(|(path, mount)| (format!("{path}/"), told(mount))).collect())
}

pub(crate) fn told(mount: &AuthMount) -> Value {
    let mut config = describe::config(&mount.tune);
    if let Some(fields) = config.as_object_mut() {
        fields.insert("token_type".to_owned(), "default-service".into());
    }
    let mut told = json!({
        "accessor": mount.accessor,
        "config": config,
        "description": mount.description,
        "external_entropy_access": false,
        "local": false,
        "options": (mount.kind != TOKEN).then(Map::new),
        "plugin_version": "",
        "running_plugin_version": env!("CARGO_PKG_VERSION"),
        "running_sha256": "",
        "seal_wrap": false,
        "type": mount.kind,
        "uuid": mount.uuid,
    });
    if let (true, Some(fields)) = (mount.kind != TOKEN, told.as_object_mut()) {
        fields.insert("deprecation_status".to_owned(), "supported".into());
    }
    told
}

pub(crate) async fn one(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let path = context.name.trim_end_matches('/');
    let mount = context.unsealed()?.mounts().current().auth().get(path);
    // The words by which Terraform knows that it is gone.
    let mount = mount.ok_or_else(|| ApiError::bad_request(format!("No auth engine at {path}/")))?;
    Ok(Answer::flat(told(&mount)))
}

pub(crate) async fn enable(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let path = MountPath::parse(context.name).map_err(ApiError::bad_request)?;
    let request: EnableRequest = context.json()?;
    let kind = request.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or_default();
    if kind == TOKEN {
        return Err(ApiError::bad_request("token credential backend cannot be instantiated"));
    }
    if kind != APPROLE {
        return Err(ApiError::bad_request(format!(
            "there is no auth method of type {kind:?}; write {APPROLE}"
        )));
    }
    let mut mount = AuthMount::new(kind, request.description.as_deref().unwrap_or_default());
    if let Some(config) = &request.config {
        config.apply(&mut mount.tune)?;
    }
    let enabled = context
        .unsealed()?
        .mounts()
        .edit(&context.call.work, move |table| table.enable(&path, mount.clone()));
    enabled.await?;
    Ok(Answer::Nothing)
}

/// Disables a method. Its tokens are dead at once; its records are removed in the background.
pub(crate) async fn disable(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let path = context.name.trim_end_matches('/').to_owned();
    if path == TOKEN {
        return Err(ApiError::bad_request("token credential backend cannot be disabled"));
    }
    let disabled =
        context.unsealed()?.mounts().edit(&context.call.work, move |table| Ok(table.disable(&path)));
    if disabled.await?.is_some() {
        context.call.core.housekeeping().hurry();
    }
    Ok(Answer::Nothing)
}
