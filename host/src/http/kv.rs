//! KV version 2: `data` and `metadata` of a mount.

use axum::{body::Body, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{Action, Call, answer, body, error::ApiError};
use crate::secrets::{Engine, FolderPath, Found, Metadata, Read, SecretPath, Write};

#[derive(Deserialize)]
struct WriteRequest {
    /// Kept to the letter, so that a number of any length comes back as it was sent.
    data: Option<Box<RawValue>>,
    #[serde(default)]
    options: Options,
}

#[derive(Default, Deserialize)]
struct Options {
    cas: Option<i64>,
}

#[derive(Serialize)]
struct VersionAnswer<'a> {
    created_time: &'a str,
    custom_metadata: (),
    deletion_time: &'a str,
    destroyed: bool,
    version: u64,
}

#[derive(Serialize)]
struct DataAnswer<'a> {
    data: Option<&'a RawValue>,
    metadata: VersionAnswer<'a>,
}

impl<'a> VersionAnswer<'a> {
    fn new(found: &'a Found) -> Self {
        Self {
            created_time: &found.metadata.created_time,
            custom_metadata: (),
            deletion_time: &found.metadata.deletion_time,
            destroyed: found.metadata.destroyed,
            version: found.version,
        }
    }
}

pub(super) async fn dispatch(call: &Call, body: Body) -> Result<Response, ApiError> {
    let core = &call.core;
    let unsealed = core.authorised(call.request(), call.token.as_ref()).await?;
    let path = &call.path;
    let Some((mount_path, mount, rest)) = unsealed.mounts().resolve(path.as_str()) else {
        return Err(ApiError::NoRoute(format!(
            "no handler for route {:?}: nothing is mounted there",
            path.as_str()
        )));
    };
    let engine = core.engine(&unsealed, mount_path, mount, call.request())?;
    match rest.split_once('/').unwrap_or((rest, "")) {
        ("data", rest) => data(call, body, &engine, rest).await,
        ("metadata", rest) => metadata(call, &engine, rest).await,
        _ => Err(ApiError::NoRoute(format!(
            "unsupported path {:?}: a secret of this mount is under {mount_path}/data/",
            path.as_str()
        ))),
    }
}

async fn data(call: &Call, body: Body, engine: &Engine<'_>, path: &str) -> Result<Response, ApiError> {
    let path = SecretPath::parse(path).map_err(ApiError::bad_request)?;
    match call.action {
        Action::Read => read(call, engine, &path).await,
        Action::Write => write(call, body, engine, &path).await,
        Action::Delete => {
            engine.delete(&path).await?;
            Ok(answer::nothing())
        }
        Action::List => Err(ApiError::MethodNotAllowed),
    }
}

async fn read(call: &Call, engine: &Engine<'_>, path: &SecretPath) -> Result<Response, ApiError> {
    match engine.read(path, requested_version(&call.query)?).await? {
        Read::Missing => Err(ApiError::NotFound),
        Read::Deleted(found) => {
            Ok(answer::kv_deleted(call.id, DataAnswer { data: None, metadata: VersionAnswer::new(&found) }))
        }
        Read::Value(found, value) => {
            let value: &RawValue = serde_json::from_slice(&value)
                .map_err(|_| ApiError::Internal("the secret's value is not what was written".to_owned()))?;
            Ok(answer::kv(call.id, DataAnswer { data: Some(value), metadata: VersionAnswer::new(&found) }))
        }
    }
}

/// The version that the query asks for; zero and nothing are the current one.
fn requested_version(query: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = query.split('&').find_map(|pair| pair.strip_prefix("version=")) else { return Ok(None) };
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(version) => Ok(Some(version)),
        Err(_) => Err(ApiError::bad_request(format!("{text:?} is not the number of a version"))),
    }
}

async fn write(
    call: &Call,
    body: Body,
    engine: &Engine<'_>,
    path: &SecretPath,
) -> Result<Response, ApiError> {
    if call
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/merge-patch"))
    {
        return Err(ApiError::bad_request("a merge patch is not supported; write the whole secret"));
    }
    let request: WriteRequest = body::json(body).await?;
    let value = request.data.ok_or_else(|| ApiError::bad_request("the body has no \"data\""))?;
    if !value.get().starts_with('{') {
        return Err(ApiError::bad_request("\"data\" must be a JSON object"));
    }
    // A negative number matches no version.
    let cas = request.options.cas.map(|cas| u64::try_from(cas).unwrap_or(u64::MAX));
    let found = engine.write(path, &Write { value: value.get().as_bytes(), cas }).await?;
    Ok(answer::kv(call.id, VersionAnswer::new(&found)))
}

async fn metadata(call: &Call, engine: &Engine<'_>, path: &str) -> Result<Response, ApiError> {
    if call.action == Action::List {
        let folder = FolderPath::parse(path).map_err(ApiError::bad_request)?;
        let names = engine.list(&folder).await?;
        if names.is_empty() {
            return Err(ApiError::NotFound);
        }
        return Ok(answer::kv(call.id, json!({ "keys": names })));
    }
    let path = SecretPath::parse(path).map_err(ApiError::bad_request)?;
    match call.action {
        Action::Read => {
            let metadata = engine.metadata(&path).await?.ok_or(ApiError::NotFound)?;
            Ok(answer::kv(call.id, metadata_answer(&metadata)))
        }
        Action::Delete => {
            engine.remove(&path).await?;
            Ok(answer::nothing())
        }
        Action::Write | Action::List => Err(ApiError::MethodNotAllowed),
    }
}

fn metadata_answer(metadata: &Metadata) -> serde_json::Value {
    let versions: serde_json::Map<String, serde_json::Value> = metadata
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
    json!({
        "cas_required": false,
        "created_time": metadata.created_time,
        "current_version": metadata.current_version,
        "custom_metadata": null,
        "delete_version_after": "0s",
        "max_versions": 0,
        "oldest_version": metadata.oldest_version(),
        "updated_time": metadata.updated_time,
        "versions": versions,
    })
}
