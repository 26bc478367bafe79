//! Response wrapping: an answer is kept, and is given once to the client that shows the wrapping's token.

use keyway_common::clock;
use keyway_core::{
    Unsealed,
    cubbyhole::Cubbyhole,
    mounts::auth::APPROLE,
    policy::RESPONSE_WRAPPING,
    token::{Entry, Live, Token, TokenError},
};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{
    action::Action,
    answer::{Answer, Logical, WrapInfo},
    body,
    call::Call,
    error::ApiError,
    given::Text,
    route::{RequestContext, Route, Wrapping},
};

/// Where the answer lies in the cubbyhole of the wrapping's token.
const KEPT: &str = "response";

/// An answer in its wrapping.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    created: String,
    path: String,
    /// In seconds.
    ttl: u64,
    answer: Logical,
}

#[derive(Deserialize)]
struct TokenRequest {
    token: Option<Text>,
}

/// Whether a route is one at which a wrapping is opened, perhaps by its own token.
pub(super) fn opens_wrappings(route: &Route) -> bool {
    matches!(route.wrapping, Wrapping::Unwrap | Wrapping::Rewrap)
}

/// Whether a request with a wrapping's token leaves that token its use: it takes the answer out, or asks about it.
pub(super) fn keeps_its_token(route: &Route) -> bool {
    matches!(route.wrapping, Wrapping::Unwrap | Wrapping::Lookup)
}

/// Whether a token is a wrapping's.
pub(super) fn is_wrapping(entry: &Entry) -> bool {
    entry.policies == [RESPONSE_WRAPPING]
}

/// Puts an answer into a wrapping, and answers where it is. What says nothing needs none.
pub(super) async fn wrap(context: &RequestContext<'_>, answer: Answer, ttl: u64) -> Result<Answer, ApiError> {
    match answer {
        Answer::Nothing => Ok(Answer::Nothing),
        // One that is wrapped already says nothing but where.
        Answer::Logical(logical) if logical.wrap_info.is_some() => Ok(Answer::Logical(logical)),
        Answer::Logical(logical) => {
            let kept = Kept { created: clock::now(), path: context.path.clone(), ttl, answer: logical };
            keep(context, kept).await
        }
        Answer::Plain(_) | Answer::Metrics(_) | Answer::Health(..) => {
            Err(ApiError::bad_request("this answer cannot be wrapped"))
        }
    }
}

async fn keep(context: &RequestContext<'_>, mut kept: Kept) -> Result<Answer, ApiError> {
    let tokens = context.unsealed()?.tokens(&context.call.work);
    let new = Entry::new().map_err(TokenError::from)?;
    let entry = Entry {
        policies: vec![RESPONSE_WRAPPING.to_owned()],
        path: kept.path.clone(),
        display_name: "wrapping".to_owned(),
        creation_ttl: kept.ttl,
        expires: Some(new.made().after(kept.ttl)),
        uses_left: Some(1),
        ..new
    };
    kept.created = entry.created.clone();
    let records = context.unsealed()?.records(&context.call.work);
    // The token is made first: upkeep removes an answer that has no token. No client has the token yet.
    let token = tokens.make(None, &entry).await?;
    Cubbyhole::new(records, &tokens.name(&token)).write(KEPT, &kept).await?;
    let wrapped_accessor = kept.answer.auth.as_ref().map(|auth| auth.accessor.clone());
    let wrapped_accessor =
        wrapped_accessor.or_else(|| secret_id_accessor(context, &kept.answer)).unwrap_or_default();
    let wrap_info = WrapInfo {
        token: token.expose().to_owned(),
        accessor: entry.accessor,
        ttl: kept.ttl,
        creation_time: kept.created,
        creation_path: kept.path,
        wrapped_accessor,
    };
    Ok(Answer::Logical(Logical { wrap_info: Some(wrap_info), ..Logical::default() }))
}

/// The accessor of a secret id that is wrapped.
fn secret_id_accessor(context: &RequestContext<'_>, answer: &Logical) -> Option<String> {
    #[derive(Deserialize)]
    struct SecretId {
        secret_id_accessor: String,
    }

    context.auth().ok().filter(|(_, mount)| mount.kind == APPROLE)?;
    let made: SecretId = serde_json::from_str(answer.data.as_ref()?.get()).ok()?;
    Some(made.secret_id_accessor)
}

/// Takes out what the wrapping of this token holds. Of several that ask, one gets it.
async fn take(context: &RequestContext<'_>, live: &Live) -> Result<Kept, ApiError> {
    let (unsealed, work) = (context.unsealed()?, &context.call.work);
    let tokens = unsealed.tokens(work);
    // The answer is checked before it is taken: after that, nothing may fail.
    let kept = Cubbyhole::new(unsealed.records(work), &live.name).read::<Kept>(KEPT).await?;
    let kept = kept.filter(|_| is_wrapping(&live.entry)).ok_or_else(invalid)?;
    context.call.hold(kept.answer.data.as_ref().map_or(0, |data| data.get().len()), false)?;
    if !tokens.spend(live).await? {
        return Err(invalid());
    }
    if let Err(error) = tokens.revoke(&live.name).await {
        tracing::warn!(%error, "what is left of a wrapping is tidied later");
    }
    Ok(kept)
}

/// Why an invalid token opens no wrapping: it was the token of a spent wrapping, or it may not open the one
/// in the body.
pub(super) async fn refusal(call: &Call, unsealed: &Unsealed, body: &[u8]) -> ApiError {
    let named = body::parse::<TokenRequest>(body).ok().and_then(|(request, _)| request.token);
    let Some(named) = named.as_ref().and_then(Text::filled) else { return invalid() };
    match unsealed.tokens(&call.work).lookup(&Token::presented(named.trim())).await {
        Ok(Some(live)) if is_wrapping(&live.entry) => ApiError::PermissionDenied,
        Ok(_) => invalid(),
        Err(error) => error.into(),
    }
}

fn invalid() -> ApiError {
    ApiError::bad_request("wrapping token is not valid or does not exist")
}

/// The wrapping that the body names, or else the token that is shown.
async fn named(context: &RequestContext<'_>) -> Result<Live, ApiError> {
    let request: TokenRequest = context.json()?;
    let tokens = context.unsealed()?.tokens(&context.call.work);
    // A request without a body has its fields in the query.
    let named = request.token.map(|token| token.0);
    let named = named.or_else(|| context.call.query("token").filter(|_| context.call.action == Action::Read));
    let live = match (named.filter(|token| !token.is_empty()), &context.call.token) {
        (Some(token), _) => tokens.lookup(&Token::presented(token.trim())).await?,
        (None, Some(token)) => tokens.lookup(token).await?,
        (None, None) => None,
    };
    live.filter(|live| is_wrapping(&live.entry)).ok_or_else(invalid)
}

/// Wraps what the body says.
pub(super) async fn wrap_body(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    if context.call.wrap_ttl.is_none() {
        return Err(ApiError::bad_request(
            "endpoint requires response wrapping to be used: send X-Vault-Wrap-TTL",
        ));
    }
    let data: Box<RawValue> = context.json()?;
    if !data.get().starts_with('{') {
        return Err(ApiError::bad_request("the body must be a JSON object"));
    }
    Ok(Answer::Logical(Logical { data: Some(data), ..Logical::default() }))
}

/// Takes an answer out of its wrapping.
pub(super) async fn unwrap(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let live = named(context).await?;
    // Fields at the top belong to the endpoint that was wrapped.
    Ok(Answer::Logical(Logical { is_flat: false, ..take(context, &live).await?.answer }))
}

/// Says of a wrapping what it is, and leaves it as it is.
pub(super) async fn lookup(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    context.unsealed()?;
    let live = named(context).await?;
    Ok(Answer::system(json!({
        "creation_path": live.entry.path,
        "creation_time": live.entry.created,
        "creation_ttl": live.entry.creation_ttl,
    })))
}

/// Puts the contents of a wrapping into another one, with a new token.
pub(super) async fn rewrap(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let live = named(context).await?;
    let kept = take(context, &live).await?;
    keep(context, Kept { created: clock::now(), ..kept }).await
}
