//! The system's endpoints: seal, health, mounts.

use axum::{body::Body, response::Response};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Action, Call,
    answer::{self, HealthState},
    body,
    error::ApiError,
};
use crate::{
    core::{HealthReport, SealStatus},
    crypto::shares::Share,
    mounts::{Mount, MountTable},
    seal::ShareCounts,
};

/// The level of Vault's protocol that is spoken: clients switch features on by it. Keyway's own version stands beside it.
const VAULT_LEVEL: &str = "1.15.0";

pub(super) async fn dispatch(call: &Call, body: Body) -> Result<Response, ApiError> {
    let endpoint = call.path.as_str().trim_end_matches('/');
    match (endpoint, call.action) {
        ("sys/health", Action::Read) => Ok(health(call).await),
        ("sys/seal-status", Action::Read) => seal_status(call).await,
        ("sys/init", Action::Read) => {
            let status = call.core.seal_status(call.request()).await?;
            Ok(answer::plain(json!({ "initialized": status.initialised })))
        }
        ("sys/init", Action::Write) => init(call, body).await,
        ("sys/unseal", Action::Write) => unseal(call, body).await,
        ("sys/seal", Action::Write) => {
            call.core.authorised(call.request(), call.token.as_ref()).await?;
            call.core.seal();
            Ok(answer::nothing())
        }
        ("sys/rotate", Action::Write) => {
            let unsealed = call.core.authorised(call.request(), call.token.as_ref()).await?;
            unsealed.barrier().rotate(call.request()).await?;
            Ok(answer::nothing())
        }
        ("sys/mounts", Action::Read) => mounts(call).await,
        ("sys/internal/ui/mounts", Action::Read) => ui_mounts(call).await,
        _ => match endpoint.strip_prefix("sys/internal/ui/mounts/") {
            Some(path) if call.action == Action::Read => ui_mount(call, path).await,
            _ if is_endpoint(endpoint) => Err(ApiError::MethodNotAllowed),
            _ => Err(ApiError::NoRoute(format!("no handler for route {endpoint:?}"))),
        },
    }
}

fn is_endpoint(path: &str) -> bool {
    matches!(
        path,
        "sys/health"
            | "sys/seal-status"
            | "sys/init"
            | "sys/unseal"
            | "sys/seal"
            | "sys/rotate"
            | "sys/mounts"
            | "sys/internal/ui/mounts"
    )
}

async fn seal_status(call: &Call) -> Result<Response, ApiError> {
    let status = call.core.seal_status(call.request()).await?;
    Ok(answer::plain(seal_answer(call, &status)))
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
        "storage_type": call.core.system_plugin(),
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
    /// Keyway's own: other keys for a cluster that nobody has unsealed yet.
    #[serde(default)]
    repeat: bool,
    #[serde(flatten)]
    other: Map<String, Value>,
}

async fn init(call: &Call, body: Body) -> Result<Response, ApiError> {
    let body: InitRequest = body::json(body).await?;
    // Honoured or refused, never ignored: shares that are not encrypted as asked would be a leak.
    for unsupported in ["pgp_keys", "root_token_pgp_key", "recovery_pgp_keys"] {
        if body.other.get(unsupported).is_some_and(|value| !is_empty(value)) {
            return Err(ApiError::bad_request(format!("{unsupported} is not supported")));
        }
    }
    let counts = ShareCounts::new(body.secret_shares.unwrap_or(5), body.secret_threshold.unwrap_or(3))
        .map_err(ApiError::bad_request)?;
    let initialised = call.core.init(call.request(), counts, body.repeat).await?;
    let shares = || initialised.shares.iter().map(Share::expose);
    Ok(answer::plain(json!({
        "keys": shares().map(|share| HEXLOWER_PERMISSIVE.encode(share)).collect::<Vec<_>>(),
        "keys_base64": shares().map(|share| BASE64.encode(share)).collect::<Vec<_>>(),
        "root_token": initialised.root_token.expose(),
    })))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

#[derive(Deserialize)]
struct UnsealRequest {
    key: Option<String>,
    #[serde(default)]
    reset: bool,
    #[serde(default)]
    migrate: bool,
}

async fn unseal(call: &Call, body: Body) -> Result<Response, ApiError> {
    let (core, request) = (&call.core, call.request());
    let body: UnsealRequest = body::json(body).await?;
    if body.migrate {
        return Err(ApiError::bad_request("migrate is not supported: there is one kind of seal"));
    }
    let status = if body.reset {
        core.reset_unseal();
        core.seal_status(request).await?
    } else {
        let key = body.key.unwrap_or_default();
        let share = parse_share(key.trim()).ok_or_else(|| {
            ApiError::bad_request("\"key\" must be an unseal share in hexadecimal or Base64")
        })?;
        core.unseal(request, share).await?
    };
    Ok(answer::plain(seal_answer(call, &status)))
}

/// A share in hexadecimal or Base64, which differ in length.
fn parse_share(text: &str) -> Option<Share> {
    let hexadecimal = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let base64 = || BASE64.decode(text.as_bytes()).ok();
    hexadecimal.and_then(|bytes| Share::from_bytes(&bytes)).or_else(|| Share::from_bytes(&base64()?))
}

async fn mounts(call: &Call) -> Result<Response, ApiError> {
    let unsealed = call.core.authorised(call.request(), call.token.as_ref()).await?;
    let table = mount_table(&unsealed.mounts().current());
    // Vault's own oddity: the table stands under "data" and at the top level too.
    let mut body = table.clone();
    body.insert("request_id".to_owned(), call.id.to_string().into());
    body.insert("lease_id".to_owned(), "".into());
    body.insert("renewable".to_owned(), false.into());
    body.insert("lease_duration".to_owned(), 0.into());
    for absent in ["wrap_info", "warnings", "auth"] {
        body.insert(absent.to_owned(), Value::Null);
    }
    body.insert("data".to_owned(), Value::Object(table));
    Ok(answer::plain(body))
}

async fn ui_mounts(call: &Call) -> Result<Response, ApiError> {
    let unsealed = call.core.authorised(call.request(), call.token.as_ref()).await?;
    let table = mount_table(&unsealed.mounts().current());
    Ok(answer::system(call.id, json!({ "auth": {}, "secret": table })))
}

async fn ui_mount(call: &Call, path: &str) -> Result<Response, ApiError> {
    let unsealed = call.core.authorised(call.request(), call.token.as_ref()).await?;
    let table = unsealed.mounts().current();
    let Some((mount_path, mount, _)) = table.resolve(path) else {
        return Err(ApiError::bad_request(format!("nothing is mounted at {path:?}")));
    };
    let mut answer = mount_answer(mount_path, mount);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("path".to_owned(), format!("{mount_path}/").into());
    }
    Ok(answer::system(call.id, answer))
}

fn mount_table(mounts: &MountTable) -> Map<String, Value> {
    mounts.iter().map(|(path, mount)| (format!("{path}/"), mount_answer(path, mount))).collect()
}

fn mount_answer(path: &str, mount: &Mount) -> Value {
    json!({
        "accessor": mount.accessor,
        "config": {
            "default_lease_ttl": 0,
            "force_no_cache": false,
            "max_lease_ttl": 0,
        },
        "deprecation_status": "supported",
        "description": format!("secrets on backend {:?}, mounted at {path:?}", mount.backend),
        "external_entropy_access": false,
        "local": false,
        "options": { "version": "2" },
        "plugin_version": "",
        "running_plugin_version": env!("CARGO_PKG_VERSION"),
        "running_sha256": "",
        "seal_wrap": false,
        "type": "kv",
        "uuid": mount.uuid,
    })
}

/// 200 where secrets can be read and written; else what stands in the way, most basic first.
async fn health(call: &Call) -> Response {
    let HealthReport { seal, storage } = call.core.health(call.request()).await;
    let ready = storage.iter().all(|(_, health)| health.as_ref().is_ok_and(keyway_loader::Health::is_ready));
    let states: Map<String, Value> = storage
        .into_iter()
        .map(|(name, health)| {
            let state = match health {
                Ok(health) if health.is_ready() => "ready".to_owned(),
                Ok(health) => format!("not ready: {}", health.detail()),
                Err(error) => format!("not available ({})", error.code().name()),
            };
            (name, state.into())
        })
        .collect();
    let (state, known) = match &seal {
        Err(_) => (HealthState::StorageDown, None),
        Ok(seal) if !seal.initialised => (HealthState::Uninitialised, Some(seal)),
        Ok(seal) if seal.sealed => (HealthState::Sealed, Some(seal)),
        Ok(seal) if !ready => (HealthState::StorageDown, Some(seal)),
        Ok(seal) => (HealthState::Active, Some(seal)),
    };
    let sealed = known.map_or_else(|| call.core.unsealed().is_err(), |seal| seal.sealed);
    let mut body = json!({
        "initialized": known.is_none_or(|seal| seal.initialised),
        "sealed": sealed,
        "standby": false,
        "performance_standby": false,
        "replication_performance_mode": "disabled",
        "replication_dr_mode": "disabled",
        "server_time_utc": jiff::Timestamp::now().as_second(),
        "version": VAULT_LEVEL,
        "keyway_version": env!("CARGO_PKG_VERSION"),
        "storage": states,
    });
    if let (Some(cluster), Some(fields)) = (known.and_then(|seal| seal.cluster), body.as_object_mut()) {
        fields.insert("cluster_name".to_owned(), "keyway".into());
        fields.insert("cluster_id".to_owned(), cluster.to_string().into());
    }
    answer::health(state, &call.query, body)
}
