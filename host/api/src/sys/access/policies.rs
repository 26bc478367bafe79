//! Policies, under both of Vault's names for them; and SPIKE's.

use keyway_core::policy::{
    name,
    spike::{SpikePermission, SpikePolicy},
    store::{Cas, PolicyText, Stored},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    answer::Answer,
    error::ApiError,
    given::{Number, Truth, said},
    route::RequestContext,
};

#[derive(Deserialize)]
struct PolicyRequest {
    policy: Option<String>,
    /// What `policy` was once called.
    rules: Option<String>,
    #[serde(default, deserialize_with = "said")]
    cas: Option<Option<Number>>,
    cas_required: Option<Truth>,
}

#[derive(Deserialize)]
struct SpikeRequest {
    #[serde(alias = "spiffeid_pattern", alias = "spiffeidPattern", alias = "spiffeIdPattern")]
    spiffe_id_pattern: String,
    #[serde(alias = "pathPattern")]
    path_pattern: String,
    permissions: Vec<SpikePermission>,
    mount: Option<String>,
    /// SPIKE's own name of it, which stands in the path here.
    #[serde(rename = "name")]
    _name: Option<String>,
}

/// All names, as the older endpoint tells them.
pub(crate) async fn all(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let names = below(context).await?;
    Ok(Answer::flat(json!({ "keys": names, "policies": names })))
}

pub(crate) async fn list(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Answer::names(&below(context).await?)
}

/// The whole names of all policies, or of those in a folder.
async fn below(context: &RequestContext<'_>) -> Result<Vec<String>, ApiError> {
    let mut names =
        context.unsealed()?.policies().names(context.unsealed()?.records(&context.call.work)).await?;
    let folder = context.name.trim_end_matches('/');
    if !folder.is_empty() {
        names.retain(|name| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')));
    }
    Ok(names)
}

/// The name that the path has. A slash at its end does not count.
fn policy_name(context: &RequestContext<'_>) -> Result<String, ApiError> {
    match context.name.trim_end_matches('/') {
        "" => Err(ApiError::MethodNotAllowed),
        text => name(text).map_err(ApiError::bad_request),
    }
}

/// One policy, as the older endpoint tells it.
pub(crate) async fn read_rules(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (name, stored) = named(context).await?;
    Ok(Answer::flat(told(&name, "rules", &stored)))
}

pub(crate) async fn read(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (name, stored) = named(context).await?;
    Ok(Answer::system(told(&name, "policy", &stored)))
}

/// A policy, with its text under this name.
fn told(name: &str, text: &str, stored: &Stored) -> Map<String, Value> {
    let mut told = Map::from_iter([
        ("name".to_owned(), name.into()),
        (text.to_owned(), stored.policy.text().into()),
        ("version".to_owned(), stored.version.into()),
        ("cas_required".to_owned(), stored.cas_required.into()),
        ("allow_slashes_in_identity_templates".to_owned(), false.into()),
        ("allow_wildcards_in_identity_templates".to_owned(), false.into()),
    ]);
    if !stored.modified.is_empty() {
        told.insert("modified".to_owned(), stored.modified.clone().into());
    }
    told
}

/// One of SPIKE's, as it was written.
pub(crate) async fn read_spike(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (name, Stored { policy: PolicyText::Spike(policy), .. }) = named(context).await? else {
        return Err(ApiError::NotFound);
    };
    let mut told: Value = json!(policy);
    if let Some(fields) = told.as_object_mut() {
        fields.insert("name".to_owned(), name.into());
    }
    Ok(Answer::system(told))
}

async fn named(context: &RequestContext<'_>) -> Result<(String, Stored), ApiError> {
    let name = policy_name(context)?;
    let unsealed = context.unsealed()?;
    let stored = unsealed.policies().get(unsealed.records(&context.call.work), &name).await?;
    Ok((name, stored.ok_or(ApiError::NotFound)?))
}

pub(crate) async fn write(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: PolicyRequest = context.json()?;
    let is_by_old_name = request.policy.is_none();
    let text = request.policy.or(request.rules).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| ApiError::bad_request("'policy' parameter not supplied or empty"))?;
    let version = request.cas.map(|cas| cas.map_or(Ok(0), |cas| cas.get()));
    let cas = Cas {
        version: version.transpose().map_err(wrong("cas"))?,
        required: request.cas_required.as_ref().map(Truth::get).transpose().map_err(wrong("cas_required"))?,
    };
    let done = put(context, PolicyText::Acl(decoded(text)), cas).await?;
    let deprecated = "'rules' is deprecated, please use 'policy' instead";
    Ok(done.warning(is_by_old_name.then(|| deprecated.to_owned())))
}

fn wrong(name: &'static str) -> impl Fn(String) -> ApiError {
    move |why| ApiError::bad_request(format!("{name}: {why}"))
}

/// Older clients send the text in Base64.
fn decoded(text: String) -> String {
    let decoded = data_encoding::BASE64.decode(text.trim().as_bytes()).ok();
    decoded.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(text)
}

pub(crate) async fn write_spike(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: SpikeRequest = context.json()?;
    let policy = SpikePolicy {
        spiffe_id_pattern: request.spiffe_id_pattern,
        path_pattern: request.path_pattern,
        permissions: request.permissions,
        mount: request.mount.unwrap_or_else(|| "secret".to_owned()),
    };
    put(context, PolicyText::Spike(policy), Cas::default()).await
}

async fn put(context: &RequestContext<'_>, written: PolicyText, cas: Cas) -> Result<Answer, ApiError> {
    let name = policy_name(context)?;
    if context.call.path.as_str().ends_with('/') {
        return Err(ApiError::bad_request("cannot write to a path ending in '/'"));
    }
    context.unsealed()?.put_policy(&context.call.work, name, written, cas).await?;
    Ok(Answer::Nothing)
}

pub(crate) async fn delete(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let name = policy_name(context)?;
    context.unsealed()?.remove_policy(&context.call.work, name).await?;
    Ok(Answer::Nothing)
}
