//! Secret ids of roles.

use std::collections::BTreeMap;

use keyway_common::duration::Given;
use keyway_core::approle::{SecretId, secret_id::Wanted};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{method::approles, roles::role};
use crate::{
    answer::Answer,
    error::ApiError,
    given::{Number, Pairs, Text, Texts, seconds},
    route::RequestContext,
};

#[derive(Deserialize)]
struct SecretIdRequest {
    secret_id: Option<Text>,
    metadata: Option<Pairs>,
    cidr_list: Option<Texts>,
    token_bound_cidrs: Option<Texts>,
    num_uses: Option<Number>,
    ttl: Option<Given>,
}

#[derive(Deserialize)]
struct NamedRequest {
    secret_id: Option<Text>,
    secret_id_accessor: Option<Text>,
}

pub(super) async fn make(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: SecretIdRequest = context.json()?;
    make_as(context, &request, None).await
}

pub(super) async fn make_custom(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: SecretIdRequest = context.json()?;
    let secret_id = request.secret_id.as_ref().map(|id| id.0.trim().to_owned()).filter(|id| !id.is_empty());
    let secret_id = secret_id.ok_or_else(|| ApiError::bad_request("missing secret_id"))?;
    make_as(context, &request, Some(secret_id)).await
}

async fn make_as(
    context: &RequestContext<'_>,
    request: &SecretIdRequest,
    secret_id: Option<String>,
) -> Result<Answer, ApiError> {
    let role = role(context).await?;
    if secret_id.as_ref().is_some_and(|id| id.len() > 4_096 || id.chars().any(char::is_control)) {
        return Err(ApiError::bad_request("secret_id has at most 4096 bytes, and no control characters"));
    }
    let metadata = match &request.metadata {
        None => BTreeMap::new(),
        Some(Pairs::Text(text)) => metadata(text).ok_or_else(|| {
            ApiError::bad_request(
                "metadata: an object of texts, its JSON as text, or NAME=VALUE parted by commas",
            )
        })?,
        Some(pairs) => pairs.get().map_err(|why| ApiError::bad_request(format!("metadata: {why}")))?,
    };
    let networks = |name: &str, given: &Option<Texts>| {
        given.as_ref().map_or(Ok(Vec::new()), |texts| texts.networks(name))
    };
    let num_uses = request.num_uses.as_ref().map(Number::get).transpose();
    let num_uses = num_uses.map_err(|why| ApiError::bad_request(format!("num_uses: {why}")))?;
    let num_uses = num_uses.map(u64::try_from).transpose();
    let wanted = Wanted {
        secret_id,
        ttl: request.ttl.as_ref().map(|ttl| seconds("ttl", Some(ttl))).transpose()?,
        num_uses: num_uses.map_err(|_| ApiError::bad_request("num_uses cannot be negative"))?,
        cidr_list: networks("cidr_list", &request.cidr_list)?,
        token_bound_cidrs: networks("token_bound_cidrs", &request.token_bound_cidrs)?,
        metadata,
    };
    let (secret_id, known) = approles(context)?.make_secret_id(&role, &wanted).await?;
    Ok(Answer::system(json!({
        "secret_id": secret_id,
        "secret_id_accessor": known.accessor,
        "secret_id_num_uses": known.num_uses,
        "secret_id_ttl": known.ttl,
    })))
}

/// An object's JSON, or `a=b,c=d`.
fn metadata(text: &str) -> Option<BTreeMap<String, String>> {
    if text.trim().is_empty() {
        return Some(BTreeMap::new());
    }
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).ok();
    }
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').filter(|(name, _)| !name.trim().is_empty())?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    text.split(',').map(pair).collect()
}

pub(super) async fn list(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    // Vault's status for it.
    let unknown = || ApiError::bad_request(format!("role {:?} does not exist", context.name));
    let role = approles(context)?.role(context.name).await?.ok_or_else(unknown)?;
    Answer::names(&approles(context)?.accessors(&role).await?)
}

fn named(context: &RequestContext<'_>) -> Result<String, ApiError> {
    let request: NamedRequest = context.json()?;
    request
        .secret_id
        .map(|id| id.0)
        .filter(|id| !id.is_empty())
        .ok_or_else(|| ApiError::bad_request("missing secret_id"))
}

fn named_accessor(context: &RequestContext<'_>) -> Result<String, ApiError> {
    let request: NamedRequest = context.json()?;
    let accessor =
        request.secret_id_accessor.map(|accessor| accessor.0).filter(|accessor| !accessor.is_empty());
    accessor.ok_or_else(|| ApiError::bad_request("missing secret_id_accessor"))
}

/// An unknown secret id is 204, as in Vault.
pub(super) async fn lookup(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (role, id) = (role(context).await?, named(context)?);
    let known = approles(context)?.secret_id(&role, id.trim()).await?;
    Ok(known.map_or(Answer::Nothing, |known| Answer::system(told(&known))))
}

pub(super) async fn lookup_accessor(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (role, accessor) = (role(context).await?, named_accessor(context)?);
    let known = approles(context)?.secret_id_by_accessor(&role, accessor.trim()).await?;
    // Vault's words, by which clients know it.
    let missing =
        || ApiError::Absent(format!("failed to find accessor entry for secret_id_accessor: {accessor:?}"));
    Ok(Answer::system(told(&known.ok_or_else(missing)?)))
}

pub(super) async fn destroy(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (role, id) = (role(context).await?, named(context)?);
    approles(context)?.remove_secret_id(&role, id.trim()).await?;
    Ok(Answer::Nothing)
}

pub(super) async fn destroy_accessor(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (role, accessor) = (role(context).await?, named_accessor(context)?);
    if !approles(context)?.remove_secret_id_by_accessor(&role, accessor.trim()).await? {
        let message = format!("failed to find accessor entry for secret_id_accessor: {accessor:?}");
        return Err(ApiError::Absent(message));
    }
    Ok(Answer::Nothing)
}

/// Removes dead secret ids.
pub(super) async fn tidy(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let gone = approles(context)?.tidy_secret_ids().await?;
    tracing::info!(gone, "dead secret ids tidied");
    Ok(Answer::accepted(
        "Tidy operation successfully started. Any information from the operation will be printed to the log.",
    ))
}

fn told(known: &SecretId) -> Value {
    json!({
        "cidr_list": known.cidr_list,
        "creation_time": known.created,
        "expiration_time": known.expires.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string()),
        "last_updated_time": known.created,
        "metadata": known.metadata,
        "secret_id_accessor": known.accessor,
        "secret_id_num_uses": known.uses_left.unwrap_or(0),
        "secret_id_ttl": known.ttl,
        "token_bound_cidrs": known.token_bound_cidrs,
    })
}
