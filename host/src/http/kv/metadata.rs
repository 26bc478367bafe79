//! `metadata`: what is known of a secret, and the names in a folder.

use std::collections::BTreeMap;

use axum::{body::Body, response::Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::settings;
use crate::{
    http::{Action, Call, answer, body, error::ApiError},
    secrets::{Engine, EngineError, FolderPath, Metadata, Part, SecretPath, metadata::check_custom},
};

/// What is to be known of a secret.
#[derive(Deserialize)]
struct MetadataRequest {
    #[serde(flatten)]
    settings: settings::Changes,
    #[serde(default, deserialize_with = "settings::said")]
    custom_metadata: Option<Option<BTreeMap<String, Option<String>>>>,
}

pub(super) async fn dispatch(
    call: &Call,
    body: Body,
    engine: &Engine<'_>,
    path: &str,
) -> Result<Response, ApiError> {
    if call.action == Action::List {
        return list(call, engine, path).await;
    }
    let path = SecretPath::parse(path).map_err(ApiError::bad_request)?;
    match call.action {
        Action::Read => {
            let metadata = engine.metadata(&path).await?.ok_or(ApiError::NotFound)?;
            Ok(answer::kv(call.id, metadata_answer(&metadata)))
        }
        Action::Write => edit(call, body, engine, &path, false).await,
        Action::Patch => {
            body::expect_merge_patch(&call.headers)?;
            edit(call, body, engine, &path, true).await
        }
        Action::Delete => {
            engine.remove(&path).await?;
            Ok(answer::nothing())
        }
        Action::List => Err(ApiError::MethodNotAllowed),
    }
}

async fn list(call: &Call, engine: &Engine<'_>, path: &str) -> Result<Response, ApiError> {
    let folder = FolderPath::parse(path).map_err(ApiError::bad_request)?;
    let after = call.query("after").filter(|after| !after.is_empty());
    // As OpenBao has it: nothing, zero and less are no limit.
    let limit = match call.query("limit").map(|limit| limit.parse::<i64>()) {
        None => None,
        Some(Ok(limit)) => usize::try_from(limit).ok().filter(|limit| *limit > 0),
        Some(Err(_)) => return Err(ApiError::bad_request("limit must be a number")),
    };
    let names = engine.list(&folder, Part { after: after.as_deref(), limit }).await?;
    if names.is_empty() {
        return Err(ApiError::NotFound);
    }
    Ok(answer::kv(call.id, json!({ "keys": names })))
}

/// A patch merges custom metadata and needs a secret; a write replaces them and makes one.
async fn edit(
    call: &Call,
    body: Body,
    engine: &Engine<'_>,
    path: &SecretPath,
    patches: bool,
) -> Result<Response, ApiError> {
    let request: MetadataRequest = body::json(call, body).await?;
    let changes = request.settings.check().map_err(ApiError::bad_request)?;
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
    let edited = engine.edit(path, !patches, |metadata, _| {
        changes.apply(&mut metadata.settings);
        metadata.custom = merged(metadata.custom.as_ref());
        metadata.custom.as_ref().map_or(Ok(()), check_custom).map_err(EngineError::Custom)
    });
    if edited.await? { Ok(answer::nothing()) } else { Err(ApiError::NotFound) }
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
