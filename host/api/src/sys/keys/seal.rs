//! Initialising, unsealing, sealing, and the keys' rotation.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use keyway_core::{SealStatus, seal::ShareCounts};
use keyway_crypto::shares::Share;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{super::version::VAULT_LEVEL, password::parse};
use crate::{answer::Answer, call::Call, error::ApiError, route::RequestContext};

pub(crate) async fn is_initialised(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let call = context.call;
    let status = call.core.seal_control().seal_status(&call.work).await?;
    Ok(Answer::plain(json!({ "initialized": status.initialised })))
}

/// There is no leader: if hosts share a store each does everything, and so says of itself that it is one.
pub(crate) async fn leader(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let is_shared = context.call.core.system_is_shared();
    if is_shared {
        // Another host may have changed the keys, and then the status seals this one. If the store is away,
        // the status stays as it was.
        let _known = context.call.core.seal_control().seal_status(&context.call.work).await;
    }
    Ok(Answer::plain(json!({
        "ha_enabled": is_shared,
        "is_self": is_shared && context.call.core.unsealed().is_ok(),
        "leader_address": "",
        "leader_cluster_address": "",
        "performance_standby": false,
        "performance_standby_last_remote_wal": 0,
    })))
}

/// A server that is sealed already stays as it is, with the shares that it was given. Such a request needs no
/// token. If the server is unsealed meanwhile, a request without a token still seals nothing.
pub(crate) async fn seal(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    if context.caller.is_some() {
        context.call.core.seal_control().seal();
    }
    Ok(Answer::Nothing)
}

pub(crate) async fn rotate(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    context.unsealed()?.barrier().rotate(&context.call.work).await?;
    Ok(Answer::Nothing)
}

/// The key that seals.
pub(crate) async fn key_status(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let unsealed = context.unsealed()?;
    if context.call.core.system_is_shared() {
        // Another host may have made a newer one.
        context.call.core.host_sync().read_keys_again(unsealed, &context.call.work).await?;
    }
    let key = unsealed.barrier().key_use();
    let made = i64::try_from(key.made).ok().and_then(|made| jiff::Timestamp::from_second(made).ok());
    Ok(Answer::flat(json!({
        "term": key.key,
        "install_time": made.map(|made| made.to_string()).unwrap_or_default(),
        "encryptions": key.reserved.saturating_sub(key.left),
    })))
}

pub(crate) async fn status(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let call = context.call;
    let status = call.core.seal_control().seal_status(&call.work).await?;
    Ok(Answer::plain(seal_answer(call, &status)))
}

fn seal_answer(call: &Call, status: &SealStatus) -> Value {
    let mut answer = json!({
        "type": "shamir",
        "initialized": status.initialised,
        "sealed": status.sealed,
        "t": status.threshold,
        "n": status.shares,
        "progress": status.progress,
        "nonce": status.nonce,
        "version": VAULT_LEVEL,
        "keyway_version": env!("CARGO_PKG_VERSION"),
        "build_date": "",
        "migration": false,
        "recovery_seal": false,
        "storage_type": call.core.system_plugin().unwrap_or_default(),
    });
    if let (Some(cluster), Some(fields)) = (status.cluster, answer.as_object_mut()) {
        fields.insert("cluster_name".to_owned(), "keyway".into());
        fields.insert("cluster_id".to_owned(), cluster.to_string().into());
    }
    answer
}

#[derive(Deserialize)]
struct InitRequest {
    secret_shares: Option<u64>,
    secret_threshold: Option<u64>,
    /// Keyway's own: other keys for a cluster that was never unsealed.
    #[serde(default)]
    repeat: bool,
}

pub(crate) async fn init(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let (call, body) = (context.call, context.json::<InitRequest>()?);
    let counts = ShareCounts::new(body.secret_shares.unwrap_or(5), body.secret_threshold.unwrap_or(3))
        .map_err(ApiError::bad_request)?;
    let initialised = call.core.seal_control().init(&call.work, counts, body.repeat).await?;
    let shares = || initialised.shares.iter().map(Share::expose);
    Ok(Answer::plain(json!({
        "keys": shares().map(|share| HEXLOWER_PERMISSIVE.encode(share)).collect::<Vec<_>>(),
        "keys_base64": shares().map(|share| BASE64.encode(share)).collect::<Vec<_>>(),
        "root_token": initialised.root_token.expose(),
    })))
}

#[derive(Deserialize)]
struct UnsealRequest {
    key: Option<String>,
    /// Keyway's own, in the place of a share.
    password: Option<String>,
    #[serde(default)]
    reset: bool,
    #[serde(default)]
    migrate: bool,
}

pub(crate) async fn unseal(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let call = context.call;
    let (core, work) = (&call.core, &call.work);
    let body: UnsealRequest = context.json()?;
    if body.migrate {
        return Err(ApiError::bad_request("migrate is not supported: there is one kind of seal"));
    }
    let status = if body.reset {
        if core.unsealed().is_ok() {
            return Err(ApiError::bad_request("vault is unsealed"));
        }
        core.seal_control().reset_unseal();
        core.seal_control().seal_status(work).await?
    } else if core.unsealed().is_ok() && (body.key.is_some() || body.password.is_some()) {
        // The server is unsealed already, so no share or password is needed.
        core.seal_control().seal_status(work).await?
    } else if let Some(password) = body.password {
        call.edge.clients.take_password(call.peer)?;
        core.seal_control().unseal_by_password(work, parse(password)?).await?
    } else {
        let key = body.key.unwrap_or_default();
        let share = parse_share(key.trim()).ok_or_else(|| {
            ApiError::bad_request("\"key\" must be an unseal share in hexadecimal or Base64")
        })?;
        core.seal_control().unseal(work, share).await?
    };
    Ok(Answer::plain(seal_answer(call, &status)))
}

/// A share in hexadecimal or Base64, which differ in length.
pub(crate) fn parse_share(text: &str) -> Option<Share> {
    let hexadecimal = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let base64 = || BASE64.decode(text.as_bytes()).ok();
    hexadecimal.and_then(|bytes| Share::from_bytes(&bytes)).or_else(|| Share::from_bytes(&base64()?))
}
