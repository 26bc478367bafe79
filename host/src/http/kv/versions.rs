//! `delete`, `undelete`, `destroy`: what becomes of versions by number.

use axum::{body::Body, response::Response};
use serde::Deserialize;

use crate::{
    http::{Action, Call, answer, body, error::ApiError},
    secrets::{Engine, Fate, SecretPath, Which},
};

/// Most versions that one request names.
const MAX_NAMED: usize = 10_000;

#[derive(Deserialize)]
struct VersionsRequest {
    #[serde(default)]
    versions: Vec<Number>,
}

/// Some clients send numbers as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
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
    let numbers: Option<Vec<u64>> = request
        .versions
        .iter()
        .map(|number| match number {
            Number::Number(number) => Some(*number),
            Number::Text(text) => text.trim().parse().ok(),
        })
        .collect();
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
