//! KV version 1: secrets without versions, as Vault's clients expect them.

use keyway_common::{duration, json::has_repeated_name};
use keyway_core::secrets::{Engine, FolderPath, SecretPath};
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    action::Action::{Delete, List, Read, Scan, Write},
    answer::{Answer, Logical},
    error::ApiError,
    given::{PART, part},
    route::{RequestContext, Route, Table},
};

/// The routes of a mount, after its path.
pub(super) static ROUTES: Table = Table {
    base: "kv1/",
    routes: &[
        Route::new(Read, "{path}", |context| Box::pin(read(context))).of_secret().reading_secret(),
        Route::new(List, "{path}", |context| Box::pin(list(context))).query(PART),
        Route::new(Scan, "{path}", |context| Box::pin(scan(context))).query(PART),
        Route::new(Write, "{path}", |context| Box::pin(write(context)))
            .of_secret()
            .with_value()
            .creating(|context| Box::pin(exists(context))),
        Route::new(Delete, "{path}", |context| Box::pin(delete(context))).of_secret(),
    ],
};

async fn engine<'a>(context: &'a RequestContext<'_>) -> Result<Engine<'a>, ApiError> {
    let engine =
        context.call.core.engine(context.unsealed()?, context.secrets()?.1, &context.call.work).await?;
    Ok(engine.with_prefetched(context.prefetched))
}

fn secret(context: &RequestContext<'_>) -> Result<SecretPath, ApiError> {
    SecretPath::parse(context.name).map_err(ApiError::bad_request)
}

async fn exists(context: &RequestContext<'_>) -> Result<bool, ApiError> {
    Ok(engine(context).await?.read_plain(&secret(context)?).await?.is_some())
}

async fn read(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let value = engine(context).await?.read_plain(&secret(context)?).await?.ok_or(ApiError::NotFound)?;
    context.call.hold(value.len(), false)?;
    let data: Box<RawValue> = serde_json::from_slice(&value)
        .map_err(|_| ApiError::Internal("the secret's value is not what was written".to_owned()))?;
    let lease_duration = ttl_of(&data).unwrap_or_else(|| {
        context.secrets().map(|(_, mount)| mount.tune.lifetimes().default).unwrap_or_default()
    });
    Ok(Answer::Logical(Logical {
        data: Some(data),
        lease_duration,
        mount_type: Some("kv".into()),
        ..Logical::default()
    }))
}

/// After how long the secret itself says that it should be read again, in seconds.
fn ttl_of(data: &RawValue) -> Option<u64> {
    let fields: Map<String, Value> = serde_json::from_str(data.get()).ok()?;
    let nanoseconds = match fields.get("ttl").or_else(|| fields.get("lease"))? {
        Value::Number(seconds) => return seconds.as_u64(),
        Value::String(text) => duration::parse(text).ok()?,
        _ => return None,
    };
    u64::try_from(nanoseconds).ok().map(|nanoseconds| nanoseconds / 1_000_000_000)
}

async fn write(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let data: Box<RawValue> = context.json()?;
    if !data.get().starts_with('{') || data.get().trim_matches(['{', '}']).trim().is_empty() {
        return Err(ApiError::bad_request("missing data fields"));
    }
    if has_repeated_name(data.get()) {
        return Err(ApiError::bad_request("the body has the same name twice in one object"));
    }
    engine(context).await?.write_plain(&secret(context)?, data.get().as_bytes()).await?;
    Ok(Answer::Nothing)
}

async fn list(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let folder = FolderPath::parse(context.name).map_err(ApiError::bad_request)?;
    let (after, limit) = part(context.call)?;
    let names = engine(context)
        .await?
        .list_plain(&folder, keyway_core::secrets::Part { after: after.as_deref(), limit })
        .await?;
    if names.is_empty() {
        return Err(ApiError::NotFound);
    }
    Ok(Answer::kv(json!({ "keys": names })))
}

async fn scan(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let folder = FolderPath::parse(context.name).map_err(ApiError::bad_request)?;
    let (after, limit) = part(context.call)?;
    let part = keyway_core::secrets::Part { after: after.as_deref(), limit };
    Ok(Answer::scanned(&engine(context).await?.scan_plain(&folder, part).await?))
}

async fn delete(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    engine(context).await?.remove_plain(&secret(context)?).await?;
    Ok(Answer::Nothing)
}
