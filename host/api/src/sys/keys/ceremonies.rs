//! Ceremonies of the share holders: rekey, and generate a root token.

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER};
use keyway_core::{
    CoreError,
    ceremony::{Beginner, RekeyStatus, Rekeyed, RootStatus},
    seal::ShareCounts,
    token::{Token, TokenError},
};
use keyway_crypto::{key::random_bytes, shares::Share};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::seal::parse_share;
use crate::{
    answer::Answer,
    error::ApiError,
    given::{Number, Truth},
    route::RequestContext,
};

#[derive(Deserialize)]
struct RekeyRequest {
    secret_shares: Option<Number>,
    secret_threshold: Option<Number>,
    require_verification: Option<Truth>,
}

#[derive(Deserialize)]
struct ShareRequest {
    key: Option<String>,
    nonce: Option<String>,
}

#[derive(Deserialize)]
struct RootRequest {
    otp: Option<String>,
}

/// Whether a token is shown that may do there what only administrators may.
async fn is_administrator(context: &RequestContext<'_>, path: &str) -> Result<bool, ApiError> {
    if let Some(caller) = &context.caller {
        return Ok(caller.acl.has_sudo(path, false));
    }
    let (call, unsealed) = (context.call, context.unsealed()?);
    let address = call.peer.map(|peer| peer.ip());
    match call.core.caller(unsealed, &call.work, call.token.as_ref(), address, context.prefetched).await {
        Ok(caller) => Ok(caller.acl.has_sudo(path, false)),
        Err(CoreError::PermissionDenied) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn beginner(context: &RequestContext<'_>, path: &str) -> Result<Beginner, ApiError> {
    Ok(if is_administrator(context, path).await? { Beginner::Administrator } else { Beginner::Anybody })
}

fn given(context: &RequestContext<'_>) -> Result<(Share, String), ApiError> {
    let request: ShareRequest = context.json()?;
    let share = parse_share(request.key.unwrap_or_default().trim());
    let wrong = || ApiError::bad_request("\"key\" must be an unseal share in hexadecimal or Base64");
    let nonce = request.nonce.filter(|nonce| !nonce.is_empty());
    Ok((share.ok_or_else(wrong)?, nonce.ok_or_else(|| ApiError::bad_request("\"nonce\" is missing"))?))
}

fn text(nonce: Option<Uuid>) -> String {
    nonce.map(|nonce| nonce.to_string()).unwrap_or_default()
}

fn told(status: &RekeyStatus) -> Value {
    json!({
        "started": status.nonce.is_some(),
        "nonce": text(status.nonce),
        "t": status.next.0,
        "n": status.next.1,
        "progress": status.progress,
        "required": status.required,
        "pgp_fingerprints": null,
        "backup": false,
        "verification_required": status.verifies,
        "verification_nonce": text(status.verification),
    })
}

fn told_of_verification(status: &RekeyStatus) -> Value {
    json!({
        "started": status.verification.is_some(),
        "nonce": text(status.verification),
        "t": status.next.0,
        "n": status.next.1,
        "progress": status.given_back,
        "complete": false,
    })
}

pub(crate) async fn rekey_status(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::flat(told(&context.call.core.ceremonies().rekey_status(&context.call.work).await?)))
}

pub(crate) async fn begin_rekey(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: RekeyRequest = context.json()?;
    let number = |given: &Option<Number>, otherwise: u64| -> Result<u64, String> {
        let given = given.as_ref().map(Number::get).transpose()?;
        given.map_or(Ok(otherwise), |number| {
            u64::try_from(number).map_err(|_| "a number is negative".to_owned())
        })
    };
    let counts = number(&request.secret_shares, 5)
        .and_then(|shares| ShareCounts::new(shares, number(&request.secret_threshold, 3)?))
        .map_err(ApiError::bad_request)?;
    // Shares that never arrive would cost the cluster. So verification is on, unless an administrator turns
    // it off.
    let verifies = request.require_verification.as_ref().map_or(Ok(true), Truth::get);
    let verifies = verifies.map_err(|why| ApiError::bad_request(format!("require_verification: {why}")))?;
    if !verifies && !is_administrator(context, "sys/rekey/init").await? {
        let message = "require_verification=false takes a token with sudo on sys/rekey/init: if the shares reach no one, the \
                       cluster is lost, and a client can begin without holding a share";
        return Err(ApiError::Forbidden(message.to_owned()));
    }
    let beginner = beginner(context, "sys/rekey/init").await?;
    let begun =
        context.call.core.ceremonies().begin_rekey(&context.call.work, counts, verifies, beginner).await?;
    Ok(Answer::flat(told(&begun)))
}

pub(crate) async fn cancel_rekey(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    context.call.core.ceremonies().cancel_rekey(is_administrator(context, "sys/rekey/init").await?)?;
    Ok(Answer::Nothing)
}

pub(crate) async fn rekey(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (share, nonce) = given(context)?;
    answer(context.call.core.ceremonies().rekey(&context.call.work, &nonce, share).await?)
}

pub(crate) async fn verification_status(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let status = context.call.core.ceremonies().rekey_status(&context.call.work).await?;
    if status.nonce.is_none() {
        return Err(ApiError::bad_request("no rekey configuration found"));
    }
    Ok(Answer::flat(told_of_verification(&status)))
}

/// The new shares stay; their giving back begins again.
pub(crate) async fn restart_verification(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let is_administrator = is_administrator(context, "sys/rekey/verify").await?;
    let status =
        context.call.core.ceremonies().restart_verification(&context.call.work, is_administrator).await?;
    Ok(Answer::flat(told_of_verification(&status)))
}

/// Shares are never kept for their holders, encrypted or not.
pub(crate) async fn backup(_: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Err(ApiError::bad_request("no backed-up keys found"))
}

pub(crate) async fn remove_backup(_: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::Nothing)
}

pub(crate) async fn verify(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (share, nonce) = given(context)?;
    answer(context.call.core.ceremonies().verify_rekey(&context.call.work, &nonce, share).await?)
}

fn answer(rekeyed: Rekeyed) -> Result<Answer, ApiError> {
    Ok(Answer::flat(match rekeyed {
        Rekeyed::Going(status) if status.verification.is_some() => told_of_verification(&status),
        Rekeyed::Going(status) => told(&status),
        Rekeyed::InForce(nonce) => json!({ "nonce": nonce, "complete": true }),
        Rekeyed::Made { nonce, shares, verification } => json!({
            "complete": true,
            "nonce": nonce,
            "keys": shares.iter().map(|share| HEXLOWER.encode(share.expose())).collect::<Vec<_>>(),
            "keys_base64": shares.iter().map(|share| BASE64.encode(share.expose())).collect::<Vec<_>>(),
            "pgp_fingerprints": null,
            "backup": false,
            "verification_required": verification.is_some(),
            "verification_nonce": text(verification),
        }),
    }))
}

pub(crate) async fn root_status(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::flat(told_of_root(&context.call.core.ceremonies().root_status(&context.call.work).await?, "")))
}

fn told_of_root(status: &RootStatus, otp: &str) -> Value {
    let encoded = status.encoded.as_ref().map(|hidden| BASE64_NOPAD.encode(hidden)).unwrap_or_default();
    json!({
        "started": status.nonce.is_some(),
        "nonce": text(status.nonce),
        "progress": status.progress,
        "required": status.required,
        "complete": status.encoded.is_some(),
        "encoded_token": encoded,
        "encoded_root_token": encoded,
        "otp": otp,
        "otp_length": Token::BYTES,
        "pgp_fingerprint": "",
    })
}

pub(crate) async fn begin_root(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let request: RootRequest = context.json()?;
    let (otp, told) = match request.otp.filter(|otp| !otp.is_empty()) {
        Some(otp) => (Zeroizing::new(otp.into_bytes()), String::new()),
        // The server makes the password. Only the client that begins gets it, once.
        None => {
            let otp = Zeroizing::new(random_otp()?);
            let told = otp.as_str().to_owned();
            (Zeroizing::new(told.clone().into_bytes()), told)
        }
    };
    let beginner = beginner(context, "sys/generate-root/attempt").await?;
    let status = context.call.core.ceremonies().begin_root(&context.call.work, otp, beginner).await?;
    Ok(Answer::flat(told_of_root(&status, &told)))
}

/// Letters and digits, as many as a token has bytes.
fn random_otp() -> Result<String, ApiError> {
    let bytes: [u8; Token::BYTES] = random_bytes().map_err(TokenError::from)?;
    let mut text = BASE64_NOPAD.encode(&bytes).replace(['+', '/'], "A");
    text.truncate(Token::BYTES);
    Ok(text)
}

pub(crate) async fn cancel_root(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    context
        .call
        .core
        .ceremonies()
        .cancel_root(is_administrator(context, "sys/generate-root/attempt").await?)?;
    Ok(Answer::Nothing)
}

pub(crate) async fn root(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (share, nonce) = given(context)?;
    let status = context.call.core.ceremonies().give_for_root(&context.call.work, &nonce, share).await?;
    Ok(Answer::flat(told_of_root(&status, "")))
}
