//! `metadata`: the metadata of a secret, and the names in a folder.

use std::collections::BTreeMap;

use keyway_common::duration::Given;
use keyway_core::secrets::{EngineError, FolderPath, Metadata, Part, SecretPath, metadata::check_custom};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    secret::{engine, secret},
    settings,
};
use crate::{
    action::Action,
    answer::Answer,
    body,
    error::ApiError,
    given::{Number, Truth, part, said},
    route::RequestContext,
};

/// The metadata that a client sends.
#[derive(Deserialize)]
struct MetadataRequest {
    #[serde(default, deserialize_with = "said")]
    max_versions: Option<Option<Number>>,
    #[serde(default, deserialize_with = "said")]
    cas_required: Option<Option<Truth>>,
    #[serde(default, deserialize_with = "said")]
    delete_version_after: Option<Option<Given>>,
    #[serde(default, deserialize_with = "said")]
    metadata_cas_required: Option<Option<Truth>>,
    /// `null` is zero.
    #[serde(default, deserialize_with = "said")]
    metadata_cas: Option<Option<Number>>,
    #[serde(default, deserialize_with = "said")]
    custom_metadata: Option<Option<Box<RawValue>>>,
}

pub(super) async fn read(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let metadata = engine(context).await?.metadata(&secret(context)?).await?.ok_or(ApiError::NotFound)?;
    Ok(Answer::kv(metadata_answer(&metadata)))
}

pub(super) async fn write(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    edit(context, false).await
}

pub(super) async fn patch(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    body::expect_merge_patch(&context.call.headers)?;
    edit(context, true).await
}

pub(super) async fn delete(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    engine(context).await?.remove(&secret(context)?).await?;
    Ok(Answer::Nothing)
}

pub(super) async fn list(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let folder = FolderPath::parse(context.name).map_err(ApiError::bad_request)?;
    let (after, limit) = part(context.call)?;
    let names = engine(context).await?.list(&folder, Part { after: after.as_deref(), limit }).await?;
    if names.is_empty() {
        return Err(ApiError::NotFound);
    }
    Ok(Answer::kv(json!({ "keys": names })))
}

pub(super) async fn scan(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let folder = FolderPath::parse(context.name).map_err(ApiError::bad_request)?;
    let (after, limit) = part(context.call)?;
    let names = engine(context).await?.scan(&folder, Part { after: after.as_deref(), limit }).await?;
    Ok(Answer::scanned(&names))
}

/// Most secrets whose metadata one list has: each is read for itself.
const MAX_DETAILED: usize = 1_000;

pub(super) async fn list_detailed(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let folder = FolderPath::parse(context.name).map_err(ApiError::bad_request)?;
    let (after, limit) = part(context.call)?;
    let engine = engine(context).await?;
    let part = Part { after: after.as_deref(), limit };
    let names = match context.call.action {
        Action::Scan => engine.scan(&folder, part).await?,
        _ => engine.list(&folder, part).await?,
    };
    if names.len() > MAX_DETAILED {
        return Err(ApiError::bad_request(format!(
            "the folder holds more than {MAX_DETAILED} names; ask for them in parts, with limit and after"
        )));
    }
    let mut details = Map::new();
    for name in &names {
        let detail = match SecretPath::parse(&format!("{}{name}", folder.as_str())) {
            // Removed meanwhile, it has none.
            Ok(path) => engine.metadata(&path).await?.map(|metadata| metadata_answer(&metadata)),
            Err(_) => None,
        };
        let detail = Value::Object(detail.unwrap_or_default());
        context.call.hold(detail.to_string().len(), false)?;
        details.insert(name.clone(), detail);
    }
    if names.is_empty() && context.call.action == Action::List {
        return Err(ApiError::NotFound);
    }
    Ok(Answer::kv(json!({ "keys": names, "key_info": details })))
}

/// A patch merges custom metadata and needs a secret; a write replaces them and makes one.
async fn edit(context: &RequestContext<'_>, patches: bool) -> Result<Answer, ApiError> {
    let (engine, path) = (engine(context).await?, secret(context)?);
    let request: MetadataRequest = context.json()?;
    let changes = settings::Changes {
        max_versions: request.max_versions,
        cas_required: request.cas_required,
        delete_version_after: request.delete_version_after,
        metadata_cas_required: request.metadata_cas_required,
    };
    let changes = if patches { changes } else { changes.written() };
    let changes = changes.check().map_err(ApiError::bad_request)?;
    if changes.is_negative() {
        return Err(ApiError::bad_request("delete_version_after: it is negative"));
    }
    let cas = request.metadata_cas.map(|cas| cas.map_or(Ok(0), |cas| cas.get())).transpose();
    let cas = cas.map_err(|problem| ApiError::bad_request(format!("metadata_cas: {problem}")))?;
    let custom =
        request.custom_metadata.map(|custom| custom.map_or(Ok(None), |custom| texts(&custom, patches)));
    let custom = custom.transpose()?;
    if custom.is_none() && changes.is_empty() {
        return Ok(Answer::Nothing);
    }
    let of_mount = context.secrets()?.1.settings;
    let merged = |before: Option<&BTreeMap<String, String>>| {
        let Some(given) = &custom else { return before.cloned() };
        let given = given.as_ref()?;
        let mut merged = before.filter(|_| patches).cloned().unwrap_or_default();
        for (name, value) in given {
            match value {
                Some(value) => merged.insert(name.clone(), value.clone()),
                None => merged.remove(name),
            };
        }
        Some(merged)
    };
    let refused = |reason| EngineError::Metadata { reason };
    let edited = engine.edit(&path, !patches, |metadata, _| {
        let is_required = metadata.settings.within(&of_mount).metadata_cas_required;
        check_cas(metadata, cas, is_required).map_err(refused)?;
        metadata.metadata_version += 1;
        changes.apply(&mut metadata.settings);
        metadata.custom = merged(metadata.custom.as_ref());
        metadata.custom.as_ref().map_or(Ok(()), check_custom).map_err(refused)
    });
    if !edited.await? {
        return Err(ApiError::NotFound);
    }
    let is_overruled = of_mount.cas_required && changes.releases_cas();
    let warning =
        "\"cas_required\" set to false, but is mandated by backend config. This value will be ignored.";
    Ok(Answer::Nothing.warning(is_overruled.then(|| warning.to_owned())))
}

/// Whether the change may follow the present state of the metadata.
fn check_cas(metadata: &Metadata, cas: Option<i64>, is_required: bool) -> Result<(), String> {
    let is_new = (metadata.current_version, metadata.metadata_version) == (0, 0);
    match cas.map(u64::try_from) {
        None if is_required => Err("metadata check-and-set parameter required for this call".to_owned()),
        None => Ok(()),
        Some(Ok(cas)) if cas == metadata.metadata_version => Ok(()),
        Some(_) if is_new => Err("metadata_cas must be 0 when creating new metadata".to_owned()),
        Some(_) => Err("metadata check-and-set parameter does not match the current version".to_owned()),
    }
}

/// Custom metadata as text: numbers as they are written, truth values as 1 and 0. None takes all of it back.
/// In a patch, `null` takes a name back; elsewhere it is no text.
fn texts(given: &RawValue, patches: bool) -> Result<Option<BTreeMap<String, Option<String>>>, ApiError> {
    let wrong = || ApiError::bad_request("custom_metadata: it is an object with texts");
    if given.get().strip_prefix('[').is_some_and(|rest| rest.trim_start() == "]") {
        return Ok(None);
    }
    let values: BTreeMap<String, Box<RawValue>> = serde_json::from_str(given.get()).map_err(|_| wrong())?;
    let text = |(name, value): (String, Box<RawValue>)| {
        let text = match value.get() {
            "null" => (!patches).then(String::new),
            "true" => Some("1".to_owned()),
            "false" => Some("0".to_owned()),
            text if text.starts_with('"') => Some(serde_json::from_str(text).map_err(|_| wrong())?),
            nested if nested.starts_with(['{', '[']) => return Err(wrong()),
            number => Some(number.to_owned()),
        };
        Ok((name, text))
    };
    values.into_iter().map(text).collect::<Result<_, _>>().map(Some)
}

fn metadata_answer(metadata: &Metadata) -> Map<String, Value> {
    let versions: Map<String, Value> = metadata
        .versions
        .iter()
        .map(|(number, version)| {
            let version = json!({
                "created_time": version.created_time,
                "deletion_time": version.deletion_time,
                "destroyed": version.destroyed,
            });
            (number.to_string(), version)
        })
        .collect();
    let mut answer = settings::answer(&metadata.settings);
    answer.insert("created_time".to_owned(), metadata.created_time.clone().into());
    answer.insert("current_metadata_version".to_owned(), metadata.metadata_version.into());
    answer.insert("current_version".to_owned(), metadata.current_version.into());
    // Without any name it is as if it had never been written.
    let custom = metadata.custom.as_ref().filter(|custom| !custom.is_empty());
    answer.insert("custom_metadata".to_owned(), json!(custom));
    answer.insert("oldest_version".to_owned(), metadata.oldest_version().into());
    answer.insert("updated_time".to_owned(), metadata.updated_time.clone().into());
    answer.insert("versions".to_owned(), versions.into());
    answer
}
