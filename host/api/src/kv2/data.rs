//! `data`: reading, writing, patching, and deleting the current version.

use keyway_common::json::has_repeated_name;
use keyway_core::secrets::{Content, Fate, Read, Which, Write, WriteResult};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::secret::{VersionAnswer, deleted, engine, requested_version, secret};
use crate::{
    answer::Answer,
    body,
    error::ApiError,
    given::{Number, said},
    route::RequestContext,
};

#[derive(Deserialize)]
struct WriteRequest {
    /// Kept exactly, so that a number of any length comes back as it was sent.
    data: Option<Box<RawValue>>,
    #[serde(default)]
    options: Option<Options>,
}

#[derive(Deserialize)]
struct Options {
    /// `null` is zero.
    #[serde(default, deserialize_with = "said")]
    cas: Option<Option<Number>>,
    /// How Go's client says that it patches, which the method says already.
    #[serde(rename = "method")]
    _method: Option<IgnoredAny>,
}

#[derive(Serialize)]
struct DataAnswer<'a> {
    data: &'a RawValue,
    metadata: VersionAnswer<'a>,
}

pub(super) async fn read(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (call, engine) = (context.call, engine(context).await?);
    match engine.read(&secret(context)?, requested_version(call)?).await? {
        Read::Missing => Err(ApiError::NotFound),
        Read::Deleted(found) => Ok(deleted("data", &found)),
        Read::Value(found, value) => {
            call.hold(value.len(), false)?;
            let data: &RawValue = serde_json::from_slice(&value)
                .map_err(|_| ApiError::Internal("the secret's value is not what was written".to_owned()))?;
            Ok(Answer::kv(DataAnswer { data, metadata: VersionAnswer::new(&found) }))
        }
    }
}

pub(super) async fn write(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    write_version(context, false).await
}

pub(super) async fn patch(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    body::expect_merge_patch(&context.call.headers)?;
    write_version(context, true).await
}

pub(super) async fn delete(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    engine(context).await?.alter(&secret(context)?, Which::Current, Fate::Delete).await?;
    Ok(Answer::Nothing)
}

async fn write_version(context: &RequestContext<'_>, patches: bool) -> Result<Answer, ApiError> {
    let (engine, path) = (engine(context).await?, secret(context)?);
    let request: WriteRequest = context.json()?;
    let value =
        request.data.ok_or_else(|| ApiError::bad_request("no data provided: the body has no \"data\""))?;
    if !value.get().starts_with('{') {
        return Err(ApiError::bad_request("\"data\" must be a JSON object"));
    }
    if has_repeated_name(value.get()) {
        return Err(ApiError::bad_request("\"data\" has the same name twice in one object"));
    }
    // A negative number matches no version.
    let cas = request.options.and_then(|options| options.cas);
    let cas = cas.map(|cas| cas.map_or(Ok(0), |cas| cas.get())).transpose();
    let cas = cas.map_err(|problem| ApiError::bad_request(format!("options.cas: {problem}")))?;
    let cas = cas.map(|cas| u64::try_from(cas).unwrap_or(u64::MAX));
    let bytes = value.get().as_bytes();
    let content = if patches { Content::Patch(bytes) } else { Content::Whole(bytes) };
    match engine.write(&path, &Write { content, cas }).await? {
        WriteResult::Done(found) => Ok(Answer::kv(VersionAnswer::new(&found))),
        WriteResult::Missing => Err(ApiError::NotFound),
        WriteResult::Deleted(found) => Ok(Answer::kv_deleted(VersionAnswer::new(&found))),
    }
}
