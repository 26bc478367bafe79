//! `metadata`: what is known of a secret, and the names in a folder.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{engine, secret, settings};
use crate::{
    duration::Given,
    http::{
        answer::Answer,
        body,
        error::ApiError,
        given::{Number, Truth, part},
        route::At,
    },
    secrets::{EngineError, FolderPath, Metadata, Part, metadata::check_custom},
};

/// What is to be known of a secret.
#[derive(Deserialize)]
struct MetadataRequest {
    #[serde(default, deserialize_with = "settings::said")]
    max_versions: Option<Option<Number>>,
    #[serde(default, deserialize_with = "settings::said")]
    cas_required: Option<Option<Truth>>,
    #[serde(default, deserialize_with = "settings::said")]
    delete_version_after: Option<Option<Given>>,
    #[serde(default, deserialize_with = "settings::said")]
    custom_metadata: Option<Option<BTreeMap<String, Option<String>>>>,
}

pub(super) async fn read(at: &At<'_>) -> Result<Answer, ApiError> {
    let metadata = engine(at).await?.metadata(&secret(at)?).await?.ok_or(ApiError::NotFound)?;
    Ok(Answer::kv(metadata_answer(&metadata)))
}

pub(super) async fn write(at: &At<'_>) -> Result<Answer, ApiError> {
    edit(at, false).await
}

pub(super) async fn patch(at: &At<'_>) -> Result<Answer, ApiError> {
    body::expect_merge_patch(&at.call.headers)?;
    edit(at, true).await
}

pub(super) async fn delete(at: &At<'_>) -> Result<Answer, ApiError> {
    engine(at).await?.remove(&secret(at)?).await?;
    Ok(Answer::Nothing)
}

pub(super) async fn list(at: &At<'_>) -> Result<Answer, ApiError> {
    let folder = FolderPath::parse(at.name).map_err(ApiError::bad_request)?;
    let (after, limit) = part(at.call)?;
    let names = engine(at).await?.list(&folder, Part { after: after.as_deref(), limit }).await?;
    if names.is_empty() {
        return Err(ApiError::NotFound);
    }
    Ok(Answer::kv(json!({ "keys": names })))
}

/// A patch merges custom metadata and needs a secret; a write replaces them and makes one.
async fn edit(at: &At<'_>, patches: bool) -> Result<Answer, ApiError> {
    let (engine, path) = (engine(at).await?, secret(at)?);
    let request: MetadataRequest = at.json()?;
    let changes = settings::Changes {
        max_versions: request.max_versions,
        cas_required: request.cas_required,
        delete_version_after: request.delete_version_after,
    };
    let changes = changes.check().map_err(ApiError::bad_request)?;
    let custom = request.custom_metadata;
    if !patches && custom.iter().flatten().any(|custom| custom.values().any(Option::is_none)) {
        return Err(ApiError::bad_request("the values of custom_metadata must be text"));
    }
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
    let edited = engine.edit(&path, !patches, |metadata, _| {
        changes.apply(&mut metadata.settings);
        metadata.custom = merged(metadata.custom.as_ref());
        metadata.custom.as_ref().map_or(Ok(()), check_custom).map_err(EngineError::Custom)
    });
    if edited.await? { Ok(Answer::Nothing) } else { Err(ApiError::NotFound) }
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
    answer.insert("current_version".to_owned(), metadata.current_version.into());
    answer.insert("custom_metadata".to_owned(), json!(metadata.custom));
    answer.insert("oldest_version".to_owned(), metadata.oldest_version().into());
    answer.insert("updated_time".to_owned(), metadata.updated_time.clone().into());
    answer.insert("versions".to_owned(), versions.into());
    answer
}
