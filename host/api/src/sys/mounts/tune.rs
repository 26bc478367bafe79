//! The settings of mounts and auth methods, such as the limits of their leases.

use keyway_common::duration::Given;
use keyway_core::mounts::{MountError, Tune, table::Mount};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::describe;
use crate::{answer::Answer, error::ApiError, given::seconds, route::RequestContext};

/// A missing field stays as it is. A field without a meaning here is refused, unless it is empty.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct TuneRequest {
    default_lease_ttl: Option<Given>,
    max_lease_ttl: Option<Given>,
    pub(crate) description: Option<String>,
    listing_visibility: Option<String>,
    options: Option<Map<String, Value>>,
    token_type: Option<String>,
}

impl TuneRequest {
    /// Changes what a mount says.
    pub(crate) fn apply(&self, tune: &mut Tune) -> Result<(), ApiError> {
        for (name, given, present) in [
            ("default_lease_ttl", &self.default_lease_ttl, &mut tune.default_lease_ttl),
            ("max_lease_ttl", &self.max_lease_ttl, &mut tune.max_lease_ttl),
        ] {
            if let Some(seconds) = lease_ttl(name, given.as_ref())? {
                *present = seconds;
            }
        }
        if tune.max_lease_ttl > 0 && tune.default_lease_ttl > tune.max_lease_ttl {
            return Err(ApiError::bad_request("default_lease_ttl is longer than max_lease_ttl"));
        }
        match self.listing_visibility.as_deref() {
            None => {}
            Some(known @ ("" | "hidden" | "unauth")) => {
                tune.is_listed = known == "unauth";
                tune.is_hidden = known == "hidden";
            }
            Some(other) => {
                let message = format!("listing_visibility {other:?} is none of unauth and hidden");
                return Err(ApiError::bad_request(message));
            }
        }
        if !matches!(self.token_type.as_deref(), None | Some("" | "default-service" | "service" | "default"))
        {
            return Err(ApiError::bad_request("token_type: only service tokens are supported"));
        }
        Ok(())
    }

    /// The version of KV that is asked for, if one is.
    fn kv_version(&self) -> Option<String> {
        let version = self.options.as_ref()?.get("version")?;
        Some(version.as_str().map_or_else(|| version.to_string(), str::to_owned))
    }
}

/// The wanted limit, in seconds; zero and `system` take the system's. None leaves it as it is: the `bao`
/// command sends an empty text for each limit that it does not change.
fn lease_ttl(name: &str, given: Option<&Given>) -> Result<Option<u64>, ApiError> {
    match given {
        None => Ok(None),
        Some(Given::Text(text)) if text.is_empty() => Ok(None),
        Some(Given::Text(text)) if text == "system" => Ok(Some(0)),
        given => seconds(name, given).map(Some),
    }
}

/// What counts for a mount.
fn told(tune: &Tune, description: &str) -> Map<String, Value> {
    let lifetimes = tune.lifetimes();
    let mut told = describe::config(tune).as_object().cloned().unwrap_or_default();
    told.insert("default_lease_ttl".to_owned(), lifetimes.default.into());
    told.insert("max_lease_ttl".to_owned(), lifetimes.max.into());
    told.insert("description".to_owned(), description.into());
    told
}

fn gone(path: &str) -> ApiError {
    ApiError::bad_request(format!("No secret engine mount at {path}/"))
}

pub(crate) async fn read(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let path = context.name.trim_end_matches('/');
    let table = context.unsealed()?.mounts().current();
    if let Some(auth) = path.strip_prefix("auth/") {
        let mount = table.auth().get(auth).ok_or_else(|| gone(path))?;
        return Ok(Answer::flat(of_auth(&mount.tune, &mount.description)));
    }
    if let Some(builtin) = describe::builtin(path) {
        let description = builtin.get("description").and_then(Value::as_str).unwrap_or_default();
        return Ok(Answer::flat(told(&Tune::default(), description)));
    }
    let mount = table.get(path).ok_or_else(|| gone(path))?;
    let mut told = told(&mount.tune, &mount.description);
    told.insert("options".to_owned(), json!({ "version": mount.kv_version.to_string() }));
    Ok(Answer::flat(told))
}

fn of_auth(tune: &Tune, description: &str) -> Map<String, Value> {
    let mut told = told(tune, description);
    told.insert("token_type".to_owned(), "default-service".into());
    told
}

pub(crate) async fn write(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let path = context.name.trim_end_matches('/').to_owned();
    if let Some(auth) = path.strip_prefix("auth/") {
        return tune_auth(context, auth).await;
    }
    let request: TuneRequest = context.json()?;
    let table = context.unsealed()?.mounts().current();
    let mount = table.get(&path).ok_or_else(|| gone(&path))?;
    let upgrades = request.kv_version().map_or(Ok(false), |version| upgrades(mount.kv_version, &version))?;
    let core = &context.call.core;
    let mut tune = mount.tune.clone();
    request.apply(&mut tune)?;
    let (uuid, tuned) = (mount.uuid, path.clone());
    let edited = context.unsealed()?.mounts().edit(&context.call.work, move |table| {
        let mount = table.get_mut(&path).filter(|mount: &&mut Mount| mount.uuid == uuid);
        let mount = mount.ok_or_else(|| MountError::Gone { path: path.clone() })?;
        mount.tune = tune.clone();
        if let Some(description) = &request.description {
            mount.description.clone_from(description);
        }
        Ok(())
    });
    edited.await?;
    if !upgrades {
        return Ok(Answer::Nothing);
    }
    core.mount_control().upgrade_mount(context.unsealed()?, &context.call.work, &tuned).await?;
    let warning = "Upgrading mount from version 1 to version 2. This mount will be unavailable for a brief period and will resume \
                   service shortly.";
    Ok(Answer::Nothing.warning(Some(warning.to_owned())))
}

/// Whether a mount of a version of KV is to become one of version 2; in OpenBao's words if that cannot be.
fn upgrades(present: u8, wanted: &str) -> Result<bool, ApiError> {
    match (present, wanted) {
        (1, "2") => Ok(true),
        (1, "1") | (2, "2") => Ok(false),
        (2, "1") => Err(ApiError::bad_request("cannot downgrade mount from version 2")),
        (_, "") => Err(ApiError::bad_request("invalid version provided: 0")),
        (_, other) => Err(ApiError::bad_request(format!("invalid version provided: {other}"))),
    }
}

pub(crate) async fn read_auth(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let table = context.unsealed()?.mounts().current();
    let path = context.name.trim_end_matches('/');
    let mount = table.auth().get(path).ok_or_else(|| gone(&format!("auth/{path}")))?;
    Ok(Answer::flat(of_auth(&mount.tune, &mount.description)))
}

pub(crate) async fn write_auth(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    tune_auth(context, context.name.trim_end_matches('/')).await
}

async fn tune_auth(context: &RequestContext<'_>, path: &str) -> Result<Answer, ApiError> {
    let request: TuneRequest = context.json()?;
    let path = path.to_owned();
    let table = context.unsealed()?.mounts().current();
    let mount = table.auth().get(&path).ok_or_else(|| gone(&format!("auth/{path}")))?;
    let mut tune = mount.tune.clone();
    request.apply(&mut tune)?;
    let edited = context.unsealed()?.mounts().edit(&context.call.work, move |table| {
        let mount = table.auth_mut().get_mut(&path);
        let mount = mount.ok_or_else(|| MountError::Gone { path: format!("auth/{path}") })?;
        mount.tune = tune.clone();
        if let Some(description) = &request.description {
            mount.description.clone_from(description);
        }
        Ok(())
    });
    edited.await?;
    Ok(Answer::Nothing)
}
