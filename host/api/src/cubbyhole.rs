//! `cubbyhole`: what a token keeps for itself.

use keyway_common::json::has_repeated_name;
use keyway_core::{
    cubbyhole::Cubbyhole,
    secrets::{FolderPath, SecretPath},
};
use serde_json::{json, value::RawValue};

use super::{
    action::Action::{Delete, List, Read, Write},
    answer::Answer,
    error::ApiError,
    route::{RequestContext, Route, Table},
};

/// The longest path: a key has its token's name before it.
const MAX_PATH_BYTES: usize = 380;

/// The routes of cubbyholes.
pub(super) static ROUTES: Table = Table {
    base: "cubbyhole/",
    routes: &[
        Route::new(Read, "{path}", |at| Box::pin(read(at))).of_secret(),
        Route::new(List, "{path}", |at| Box::pin(list(at))),
        Route::new(Write, "{path}", |at| Box::pin(write(at))).of_secret().creating(|at| Box::pin(exists(at))),
        Route::new(Delete, "{path}", |at| Box::pin(delete(at))).of_secret(),
    ],
};

fn cubbyhole<'a>(at: &'a RequestContext<'_>) -> Result<Cubbyhole<'a>, ApiError> {
    Ok(Cubbyhole::new(at.unsealed()?.records(&at.call.work), &at.caller()?.live.name))
}

fn path<'a>(at: &'a RequestContext<'_>) -> Result<&'a str, ApiError> {
    SecretPath::parse(at.name).map_err(ApiError::bad_request)?;
    if at.name.len() > MAX_PATH_BYTES {
        return Err(ApiError::bad_request(format!(
            "a path in a cubbyhole has at most {MAX_PATH_BYTES} bytes"
        )));
    }
    Ok(at.name)
}

async fn exists(at: &RequestContext<'_>) -> Result<bool, ApiError> {
    Ok(cubbyhole(at)?.read::<Box<RawValue>>(path(at)?).await?.is_some())
}

async fn read(at: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let kept = cubbyhole(at)?.read::<Box<RawValue>>(path(at)?).await?.ok_or(ApiError::NotFound)?;
    at.call.hold(kept.get().len(), false)?;
    Ok(Answer::system(kept))
}

async fn write(at: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let data: Box<RawValue> = at.json()?;
    if !data.get().starts_with('{') || data.get().trim_matches(['{', '}']).trim().is_empty() {
        return Err(ApiError::bad_request("missing data fields"));
    }
    if has_repeated_name(data.get()) {
        return Err(ApiError::bad_request("the body has the same name twice in one object"));
    }
    cubbyhole(at)?.write(path(at)?, &data).await?;
    Ok(Answer::Nothing)
}

async fn list(at: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let folder = FolderPath::parse(at.name).map_err(ApiError::bad_request)?;
    let names = cubbyhole(at)?.list(folder.as_str()).await?;
    if names.is_empty() {
        return Err(ApiError::NotFound);
    }
    Ok(Answer::system(json!({ "keys": names })))
}

async fn delete(at: &RequestContext<'_>) -> Result<Answer, ApiError> {
    cubbyhole(at)?.remove(path(at)?).await?;
    Ok(Answer::Nothing)
}
