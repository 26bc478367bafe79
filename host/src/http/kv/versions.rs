//! `delete`, `undelete`, `destroy`: what becomes of versions by number.

use axum::{body::Body, response::Response};
use serde::Deserialize;

use super::given::Numbers;
use crate::{
    http::{Action, Call, answer, body, error::ApiError},
    secrets::{Engine, Fate, SecretPath, Which},
};

/// Most versions that one request names.
const MAX_NAMED: usize = 10_000;

#[derive(Deserialize)]
struct VersionsRequest {
    versions: Option<Numbers>,
}

pub(super) async fn dispatch(
    call: &Call,
    body: Body,
    engine: &Engine<'_>,
    path: &SecretPath,
    fate: Fate,
) -> Result<Response, ApiError> {
    if call.action != Action::Write {
        return Err(ApiError::MethodNotAllowed);
    }
    let request: VersionsRequest = body::json(call, body).await?;
    let numbers = request.versions.map_or(Ok(Vec::new()), |versions| versions.get());
    let numbers: Option<Vec<u64>> = numbers
        .ok()
        .and_then(|numbers| numbers.into_iter().map(|number| u64::try_from(number).ok()).collect());
    let numbers = numbers.ok_or_else(|| ApiError::bad_request("\"versions\" must be numbers"))?;
    if numbers.is_empty() {
        return Err(ApiError::bad_request("no version number provided: \"versions\" is empty"));
    }
    if numbers.len() > MAX_NAMED {
        return Err(ApiError::bad_request(format!("at most {MAX_NAMED} versions at a time")));
    }
    engine.alter(path, Which::These(&numbers), fate).await?;
    Ok(answer::nothing())
}
