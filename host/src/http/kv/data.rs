//! `data`: reading, writing, patching, and deleting the current version.

use axum::{body::Body, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{VersionAnswer, deleted, given::Number, requested_version};
use crate::{
    http::{Action, Call, answer, body, error::ApiError},
    json::has_repeated_name,
    secrets::{Content, Engine, Fate, Read, SecretPath, Which, Write, Written},
};

#[derive(Deserialize)]
struct WriteRequest {
    /// Kept to the letter, so that a number of any length comes back as it was sent.
    data: Option<Box<RawValue>>,
    #[serde(default)]
    options: Option<Options>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    cas: Option<Number>,
    /// How Go's client says that it patches, which the method says already.
    #[serde(rename = "method")]
    _method: Option<String>,
}

#[derive(Serialize)]
struct DataAnswer<'a> {
    data: &'a RawValue,
    metadata: VersionAnswer<'a>,
}

pub(super) async fn dispatch(
    call: &Call,
    body: Body,
    engine: &Engine<'_>,
    path: &SecretPath,
) -> Result<Response, ApiError> {
    match call.action {
        Action::Read => read(call, engine, path).await,
        Action::Write => write(call, body, engine, path, false).await,
        Action::Patch => {
            body::expect_merge_patch(&call.headers)?;
            write(call, body, engine, path, true).await
        }
        Action::Delete => {
            engine.alter(path, Which::Current, Fate::Delete).await?;
            Ok(answer::nothing())
        }
        Action::List => Err(ApiError::MethodNotAllowed),
    }
}

async fn read(call: &Call, engine: &Engine<'_>, path: &SecretPath) -> Result<Response, ApiError> {
    match engine.read(path, requested_version(call)?).await? {
        Read::Missing => Err(ApiError::NotFound),
        Read::Deleted(found) => Ok(deleted(call, "data", &found)),
        Read::Value(found, value) => {
            call.hold(value.len(), false)?;
            let data: &RawValue = serde_json::from_slice(&value)
                .map_err(|_| ApiError::Internal("the secret's value is not what was written".to_owned()))?;
            Ok(answer::kv(call.id, DataAnswer { data, metadata: VersionAnswer::new(&found) }))
        }
    }
}

async fn write(
    call: &Call,
    body: Body,
    engine: &Engine<'_>,
    path: &SecretPath,
    patches: bool,
) -> Result<Response, ApiError> {
    let request: WriteRequest = body::value(call, body).await?;
    let value =
        request.data.ok_or_else(|| ApiError::bad_request("no data provided: the body has no \"data\""))?;
    if !value.get().starts_with('{') {
        return Err(ApiError::bad_request("\"data\" must be a JSON object"));
    }
    if has_repeated_name(value.get()) {
        return Err(ApiError::bad_request("\"data\" has the same name twice in one object"));
    }
    // A negative number matches no version.
    let cas = request.options.and_then(|options| options.cas).map(|cas| cas.get()).transpose();
    let cas = cas.map_err(|problem| ApiError::bad_request(format!("options.cas: {problem}")))?;
    let cas = cas.map(|cas| u64::try_from(cas).unwrap_or(u64::MAX));
    let bytes = value.get().as_bytes();
    let content = if patches { Content::Patch(bytes) } else { Content::Whole(bytes) };
    match engine.write(path, &Write { content, cas }).await? {
        Written::Done(found) => Ok(answer::kv(call.id, VersionAnswer::new(&found))),
        Written::Missing => Err(ApiError::NotFound),
        Written::Deleted(found) => Ok(deleted(call, "data", &found)),
    }
}
