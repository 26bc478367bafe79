//! Leases: the lives of tokens, by names that are not the tokens. A lease is called by the path that made its
//! token and the name of the token in the store.

use keyway_common::{clock::Time, duration::Given};
use keyway_core::{
    Renewed,
    token::{Live, TokenName},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    answer::{Answer, Logical},
    error::ApiError,
    given::{Truth, seconds},
    route::RequestContext,
};

#[derive(Deserialize)]
struct LookupRequest {
    lease_id: Option<String>,
}

#[derive(Deserialize)]
struct RenewRequest {
    lease_id: Option<String>,
    increment: Option<Given>,
}

#[derive(Deserialize)]
struct RevokeRequest {
    lease_id: Option<String>,
    /// Revoking is always done when it is answered.
    #[serde(rename = "sync")]
    _sync: Option<Truth>,
}

#[derive(Deserialize)]
struct PrefixRequest {
    #[serde(rename = "sync")]
    _sync: Option<Truth>,
    /// Clients such as hvac send it in addition to the path. Only the path counts.
    #[serde(rename = "prefix")]
    _prefix: Option<serde_json::Value>,
}

/// The lease that the body or the path names.
async fn named(
    context: &RequestContext<'_>,
    lease_id: Option<String>,
) -> Result<(String, Option<Live>), ApiError> {
    let id = lease_id.filter(|id| !id.is_empty()).or_else(|| Some(context.name.to_owned()));
    let id =
        id.filter(|id| !id.is_empty()).ok_or_else(|| ApiError::bad_request("lease_id must be specified"))?;
    let tokens = context.unsealed()?.tokens(&context.call.work);
    let live = match id.rsplit_once('/').and_then(|(path, name)| Some((path, TokenName::parse(name)?))) {
        Some((path, name)) => tokens
            .lookup_name(&name)
            .await?
            .filter(|live| live.entry.path == path && live.entry.expires.is_some()),
        None => None,
    };
    Ok((id, live))
}

fn invalid() -> ApiError {
    ApiError::bad_request("invalid lease")
}

pub(crate) async fn lookup(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (id, live) = named(context, context.json::<LookupRequest>()?.lease_id).await?;
    let entry = live.ok_or_else(invalid)?.entry;
    Ok(Answer::system(json!({
        "expire_time": entry.expire_time(),
        "id": id,
        "issue_time": entry.created,
        "last_renewal": entry.renewed.map(|context| context.to_string()),
        "renewable": entry.renewable,
        "ttl": entry.ttl(Time::now()),
    })))
}

/// The names of leases one level below a path.
pub(crate) async fn list(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let folder = context.name.trim_end_matches('/');
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let leases = context.unsealed()?.tokens(&context.call.work).leases(&prefix).await?;
    let mut names: Vec<String> = leases
        .iter()
        .filter_map(|(id, _)| id.strip_prefix(&prefix))
        .map(|rest| rest.split_once('/').map_or_else(|| rest.to_owned(), |(folder, _)| format!("{folder}/")))
        .collect();
    names.sort_unstable();
    names.dedup();
    Answer::names(&names)
}

pub(crate) async fn renew(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: RenewRequest = context.json()?;
    let increment = seconds("increment", request.increment.as_ref())?;
    let (id, live) = named(context, request.lease_id).await?;
    let live = live.ok_or_else(|| ApiError::bad_request("lease not found or lease is not renewable"))?;
    let Renewed { entry, warnings } = context.unsealed()?.renew(&context.call.work, &live, increment).await?;
    Ok(Answer::Logical(Logical {
        lease_id: id,
        renewable: entry.renewable,
        lease_duration: entry.ttl(Time::now()),
        warnings,
        ..Logical::default()
    }))
}

pub(crate) async fn revoke(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (_, live) = named(context, context.json::<RevokeRequest>()?.lease_id).await?;
    if let Some(live) = live {
        context.unsealed()?.tokens(&context.call.work).revoke(&live.name).await?;
        context.call.core.housekeeping().hurry();
    }
    Ok(Answer::Nothing)
}

/// All leases below a path.
pub(crate) async fn revoke_prefix(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let PrefixRequest { .. } = context.json()?;
    let folder = context.name.trim_end_matches('/');
    if folder.is_empty() {
        return Err(ApiError::bad_request("the prefix is missing"));
    }
    let tokens = context.unsealed()?.tokens(&context.call.work);
    for (_, name) in tokens.leases(&format!("{folder}/")).await? {
        tokens.revoke(&name).await?;
    }
    context.call.core.housekeeping().hurry();
    Ok(Answer::Nothing)
}

/// Removes the records of dead leases, in the background.
pub(crate) async fn tidy(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    context.call.core.housekeeping().hurry();
    Ok(Answer::accepted(
        "Tidy operation successfully started. Any information from the operation will be printed to the log.",
    ))
}
