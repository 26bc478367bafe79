//! What a token may do at paths.

use std::sync::Arc;

use keyway_core::{
    policy::Acl,
    token::{Live, Token},
};
use serde::Deserialize;
use serde_json::{Map, json};

use crate::{
    answer::Answer,
    error::ApiError,
    given::{Text, Texts},
    route::RequestContext,
};

/// The longest path: no request has a longer one.
const MAX_PATH_BYTES: usize = 8 * 1024;

#[derive(Deserialize)]
struct CapabilitiesRequest {
    paths: Option<Texts>,
    /// What `paths` was once called.
    path: Option<Texts>,
    token: Option<Text>,
    accessor: Option<Text>,
}

pub(crate) async fn of_self(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    answer(&context.json::<CapabilitiesRequest>()?, &context.caller()?.acl)
}

pub(crate) async fn of_token(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: CapabilitiesRequest = context.json()?;
    let token = request.token.as_ref().and_then(Text::filled);
    let token = token.ok_or_else(|| ApiError::bad_request("missing token"))?;
    let live = context.unsealed()?.tokens(&context.call.work).lookup(&Token::presented(token)).await?;
    let live = live.ok_or_else(|| ApiError::bad_request("invalid token"))?;
    answer(&request, &*acl(context, &live).await?)
}

pub(crate) async fn of_accessor(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: CapabilitiesRequest = context.json()?;
    let accessor = request.accessor.as_ref().and_then(Text::filled);
    let accessor = accessor.ok_or_else(|| ApiError::bad_request("missing accessor"))?;
    let live = context.unsealed()?.tokens(&context.call.work).lookup_accessor(accessor).await?;
    let live = live.ok_or_else(|| ApiError::bad_request("invalid accessor"))?;
    answer(&request, &*acl(context, &live).await?)
}

async fn acl(context: &RequestContext<'_>, live: &Live) -> Result<Arc<Acl>, ApiError> {
    Ok(context.unsealed()?.acl(&context.call.work, &live.entry.policies).await?)
}

fn answer(request: &CapabilitiesRequest, acl: &Acl) -> Result<Answer, ApiError> {
    let paths = request.paths.as_ref().or(request.path.as_ref()).map(Texts::get).unwrap_or_default();
    if paths.is_empty() {
        return Err(ApiError::bad_request("paths must be supplied"));
    }
    let mut told = Map::new();
    for path in &paths {
        if path.len() > MAX_PATH_BYTES {
            return Err(ApiError::bad_request(format!("a path has at most {MAX_PATH_BYTES} bytes")));
        }
        let mut names = acl.capabilities(path).map_or_else(|| vec!["root"], |found| found.names());
        names.sort_unstable();
        if paths.len() == 1 {
            told.insert("capabilities".to_owned(), json!(names));
        }
        told.insert(path.clone(), json!(names));
    }
    Ok(Answer::flat(told))
}
