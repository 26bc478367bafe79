//! Asking about tokens, prolonging and revoking them.

use keyway_common::{clock::Time, duration::Given};
use keyway_core::{
    Renewed,
    token::{Live, Token, entry::ROOT_PATH, network_texts},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    auth::{auth, warned},
    error::ApiError,
    given::{Text, seconds},
    route::RequestContext,
};

#[derive(Deserialize)]
struct TokenRequest {
    token: Option<Text>,
    increment: Option<Given>,
}

#[derive(Deserialize)]
struct AccessorRequest {
    accessor: Option<Text>,
    increment: Option<Given>,
}

/// Which token the body names.
async fn named(context: &RequestContext<'_>) -> Result<(Token, Option<Live>, u64), ApiError> {
    let request: TokenRequest = context.json()?;
    let token = request.token.as_ref().and_then(Text::filled);
    let token = token.ok_or_else(|| ApiError::bad_request("missing token ID"))?;
    let token = Token::presented(token.trim());
    let live = context.unsealed()?.tokens(&context.call.work).lookup(&token).await?;
    Ok((token, live, seconds("increment", request.increment.as_ref())?))
}

/// Which token the accessor in the body names, if there is one.
async fn named_by_accessor(context: &RequestContext<'_>) -> Result<(Option<Live>, u64), ApiError> {
    let request: AccessorRequest = context.json()?;
    let accessor = request.accessor.as_ref().and_then(Text::filled);
    let accessor = accessor.ok_or_else(|| ApiError::bad_request("missing accessor"))?;
    let live = context.unsealed()?.tokens(&context.call.work).lookup_accessor(accessor.trim()).await?;
    Ok((live, seconds("increment", request.increment.as_ref())?))
}

/// OpenBao's words, by which clients know it.
fn invalid_accessor() -> ApiError {
    ApiError::bad_request("invalid accessor")
}

pub(super) async fn lookup_self(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let token = context.call.token.as_ref().ok_or(ApiError::PermissionDenied)?;
    let mut told = told(&context.caller()?.live, token.expose());
    // This is one of its uses.
    if let (Some(left), Some(fields)) = (context.caller()?.live.entry.uses_left, told.as_object_mut()) {
        fields.insert("num_uses".to_owned(), left.saturating_sub(1).into());
    }
    Ok(Answer::system(told))
}

/// A request that names no token asks about the one that it shows.
pub(super) async fn lookup(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: TokenRequest = context.json()?;
    if request.token.as_ref().and_then(Text::filled).is_none() {
        return lookup_self(context).await;
    }
    let (token, live, _) = named(context).await?;
    let live = live.ok_or_else(|| ApiError::Forbidden("bad token".to_owned()))?;
    Ok(Answer::system(told(&live, token.expose())))
}

/// The answer leaves out the token: the holder of an accessor need not have the token.
pub(super) async fn lookup_accessor(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (live, _) = named_by_accessor(context).await?;
    Ok(Answer::system(told(&live.ok_or_else(invalid_accessor)?, "")))
}

/// The answer about a token.
fn told(live: &Live, id: &str) -> Value {
    let (entry, now) = (&live.entry, Time::now());
    let mut told = json!({
        "accessor": entry.accessor,
        "creation_time": entry.made().unix_seconds(),
        "creation_ttl": entry.creation_ttl,
        "display_name": entry.display_name,
        "entity_id": "",
        "expire_time": entry.expire_time(),
        "explicit_max_ttl": entry.explicit_max_ttl,
        "id": id,
        "meta": entry.meta,
        "num_uses": entry.uses_left.unwrap_or(0),
        "orphan": live.is_orphan,
        "path": entry.path,
        "policies": entry.policies,
        "ttl": entry.ttl(now),
        "type": "service",
    });
    if let Some(fields) = told.as_object_mut() {
        // A root token that no other token made has no lease.
        if entry.path != ROOT_PATH {
            fields.insert("issue_time".to_owned(), entry.created.clone().into());
            fields.insert("renewable".to_owned(), entry.renewable.into());
        }
        if entry.period > 0 {
            fields.insert("period".to_owned(), entry.period.into());
        }
        if let Some(role) = &entry.role {
            fields.insert("role".to_owned(), role.clone().into());
        }
        if let Some(renewed) = entry.renewed {
            fields.insert("last_renewal".to_owned(), renewed.to_string().into());
            fields.insert("last_renewal_time".to_owned(), renewed.unix_seconds().into());
        }
        if !entry.bound_cidrs.is_empty() {
            fields.insert("bound_cidrs".to_owned(), json!(network_texts(&entry.bound_cidrs)));
        }
    }
    told
}

pub(super) async fn renew_self(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: TokenRequest = context.json()?;
    let token = context.call.token.as_ref().ok_or(ApiError::PermissionDenied)?;
    prolong(context, token, &context.caller()?.live, seconds("increment", request.increment.as_ref())?).await
}

pub(super) async fn renew(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (token, live, increment) = named(context).await?;
    let live = live.ok_or_else(|| ApiError::bad_request("token not found"))?;
    prolong(context, &token, &live, increment).await
}

pub(super) async fn renew_accessor(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (live, increment) = named_by_accessor(context).await?;
    prolong(context, &Token::presented(""), &live.ok_or_else(invalid_accessor)?, increment).await
}

async fn prolong(
    context: &RequestContext<'_>,
    token: &Token,
    live: &Live,
    increment: u64,
) -> Result<Answer, ApiError> {
    let Renewed { entry, warnings } = context.unsealed()?.renew(&context.call.work, live, increment).await?;
    Ok(Answer::token(auth(token, &entry, Time::now()), warnings))
}

pub(super) async fn revoke_self(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    revoke_live(context, &context.caller()?.live).await
}

pub(super) async fn revoke(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (token, live, _) = named(context).await?;
    // A token that is dead already counts as revoked, and its records are removed.
    let name = context.unsealed()?.tokens(&context.call.work).name(&token);
    match live {
        Some(live) => revoke_live(context, &live).await,
        None if token.is_plausible() => {
            context.unsealed()?.tokens(&context.call.work).revoke(&name).await?;
            Ok(Answer::Nothing)
        }
        None => Ok(Answer::Nothing),
    }
}

pub(super) async fn revoke_accessor(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    match named_by_accessor(context).await? {
        (Some(live), _) => revoke_live(context, &live).await,
        (None, _) => Ok(warned(vec!["No token found with this accessor".to_owned()])),
    }
}

async fn revoke_live(context: &RequestContext<'_>, live: &Live) -> Result<Answer, ApiError> {
    context.unsealed()?.tokens(&context.call.work).revoke(&live.name).await?;
    // Its descendants are dead; upkeep removes their records.
    context.call.core.housekeeping().hurry();
    Ok(Answer::Nothing)
}

pub(super) async fn revoke_orphan(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (_, live, _) = named(context).await?;
    let live = live.ok_or_else(|| ApiError::bad_request("token to revoke not found"))?;
    context.unsealed()?.tokens(&context.call.work).revoke_alone(&live.name).await?;
    Ok(Answer::Nothing)
}

pub(super) async fn accessors(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Answer::names(&context.unsealed()?.tokens(&context.call.work).accessors().await?)
}

/// Removes the records of dead tokens, in the background.
pub(super) async fn tidy(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    context.call.core.housekeeping().hurry();
    Ok(Answer::accepted(
        "Tidy operation successfully started. Any information from the operation will be printed to the log.",
    ))
}
