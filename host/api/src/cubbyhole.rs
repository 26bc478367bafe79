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
        Route::new(Read, "{path}", |context| Box::pin(read(context))).of_secret(),
        Route::new(List, "{path}", |context| Box::pin(list(context))),
        Route::new(Write, "{path}", |context| Box::pin(write(context)))
            .of_secret()
            .creating(|context| Box::pin(exists(context))),
        Route::new(Delete, "{path}", |context| Box::pin(delete(context))).of_secret(),
    ],
};

fn cubbyhole<'a>(context: &'a RequestContext<'_>) -> Result<Cubbyhole<'a>, ApiError> {
    Ok(Cubbyhole::new(context.unsealed()?.records(&context.call.work), &context.caller()?.live.name))
}

fn path<'a>(context: &'a RequestContext<'_>) -> Result<&'a str, ApiError> {
    SecretPath::parse(context.name).map_err(ApiError::bad_request)?;
    if context.name.len() > MAX_PATH_BYTES {
        return Err(ApiError::bad_request(format!(
            "a path in a cubbyhole has at most {MAX_PATH_BYTES} bytes"
        )));
    }
    Ok(context.name)
}

async fn exists(context: &RequestContext<'_>) -> Result<bool, ApiError> {
    Ok(cubbyhole(context)?.read::<Box<RawValue>>(path(context)?).await?.is_some())
}

async fn read(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let kept = cubbyhole(context)?.read::<Box<RawValue>>(path(context)?).await?.ok_or(ApiError::NotFound)?;
    context.call.hold(kept.get().len(), false)?;
    Ok(Answer::system(kept))
}

async fn write(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let data: Box<RawValue> = context.json()?;
    if !data.get().starts_with('{') || data.get().trim_matches(['{', '}']).trim().is_empty() {
        return Err(ApiError::bad_request("missing data fields"));
    }
    if has_repeated_name(data.get()) {
        return Err(ApiError::bad_request("the body has the same name twice in one object"));
    }
    cubbyhole(context)?.write(path(context)?, &data).await?;
    Ok(Answer::Nothing)
}

async fn list(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let folder = FolderPath::parse(context.name).map_err(ApiError::bad_request)?;
    let names = cubbyhole(context)?.list(folder.as_str()).await?;
    if names.is_empty() {
        return Err(ApiError::NotFound);
    }
    Ok(Answer::system(json!({ "keys": names })))
}

async fn delete(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    cubbyhole(context)?.remove(path(context)?).await?;
    Ok(Answer::Nothing)
}
