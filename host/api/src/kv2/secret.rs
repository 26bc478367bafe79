//! The secret that a request names, and the answer about a version.

use keyway_core::secrets::{Engine, FoundVersion, SecretPath};
use serde::Serialize;

use crate::{answer::Answer, call::Call, error::ApiError, route::RequestContext};

/// The engine of the mount that the request is for.
pub(super) async fn engine<'a>(context: &'a RequestContext<'_>) -> Result<Engine<'a>, ApiError> {
    let engine =
        context.call.core.engine(context.unsealed()?, context.secrets()?.1, &context.call.work).await?;
    Ok(engine.with_prefetched(context.prefetched))
}

/// The secret that the request names.
pub(super) fn secret(context: &RequestContext<'_>) -> Result<SecretPath, ApiError> {
    SecretPath::parse(context.name).map_err(ApiError::bad_request)
}

/// The answer about a version.
#[derive(Serialize)]
pub(super) struct VersionAnswer<'a> {
    created_time: &'a str,
    custom_metadata: Option<&'a std::collections::BTreeMap<String, String>>,
    deletion_time: &'a str,
    destroyed: bool,
    version: u64,
}

impl<'a> VersionAnswer<'a> {
    pub(super) fn new(found: &'a FoundVersion) -> Self {
        Self {
            created_time: &found.metadata.created_time,
            custom_metadata: found.custom.as_ref(),
            deletion_time: &found.metadata.deletion_time,
            destroyed: found.metadata.destroyed,
            version: found.version,
        }
    }
}

/// 404 with the metadata of the version.
pub(super) fn deleted(data: &'static str, found: &FoundVersion) -> Answer {
    let metadata = VersionAnswer::new(found);
    Answer::kv_deleted(serde_json::json!({ data: null, "metadata": metadata }))
}

/// The version that the query asks for; zero and nothing are the current one.
pub(super) fn requested_version(call: &Call) -> Result<Option<u64>, ApiError> {
    let Some(text) = call.query("version") else { return Ok(None) };
    match text.parse() {
        Ok(0) => Ok(None),
        Ok(version) => Ok(Some(version)),
        Err(_) => Err(ApiError::bad_request("version: it is not the number of a version")),
    }
}
