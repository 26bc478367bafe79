//! Swapping a backend, going back, and upgrading its data format.

use std::time::Duration;

use keyway_core::{CoreError, SwapRequest};
use keyway_loader::{
    Chain, Fix, Requirement, SwapError, Swapped,
    probe::Rehearsed,
    swap::{Data, Side, Upgraded},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{answer::Answer, error::ApiError, given::Truth, route::RequestContext};

#[derive(Deserialize)]
struct Body {
    plugin: Option<String>,
    config: Option<Map<String, Value>>,
    migrate: Option<Truth>,
    discard: Option<Truth>,
    upgrade: Option<Truth>,
}

pub(crate) async fn swap(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let body: Body = context.json()?;
    let plugin = body.plugin.as_deref().map(Requirement::parse).transpose();
    let plugin = plugin.map_err(|reason| ApiError::bad_request(format!("plugin: {reason}")))?;
    let config = body.config.clone().map(Value::Object);
    let upgrades = said("upgrade", &body.upgrade)?;
    let mut swapped = answer(context, &body, SwapRequest { plugin, config, ..SwapRequest::NEWEST }).await?;
    if upgrades {
        let upgraded = match context.call.core.swapping().upgrade(context.name).await {
            Ok(upgraded) => describe_upgrade(&upgraded),
            // There is nothing to do.
            Err(CoreError::Upgrade(error)) if matches!(*error, SwapError::NewestFormat { .. }) => Value::Null,
            // The swap stands. The caller asked for both, and must know.
            Err(CoreError::Upgrade(error)) => {
                let (why, fix) = (Chain(error.as_ref()), error.fix());
                return Err(ApiError::Internal(format!("swapped, but not upgraded: {why}; {fix}")));
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(fields) = swapped.as_object_mut() {
            fields.insert("upgrade".to_owned(), upgraded);
        }
    }
    Ok(Answer::system(swapped))
}

/// Brings the data format of the store to its plugin's.
pub(crate) async fn upgrade(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    super::exists(context)?;
    context.call.work.unpin();
    let upgraded = context.call.core.swapping().upgrade(context.name).await?;
    Ok(Answer::system(describe_upgrade(&upgraded)))
}

fn describe_upgrade(upgraded: &Upgraded) -> Value {
    json!({
        "from_data_format": upgraded.from,
        "to_data_format": upgraded.to,
        "backup": upgraded.backup.display().to_string(),
        "backup_records": upgraded.records,
        "waited_ms": millis(upgraded.waited),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn said(name: &str, given: &Option<Truth>) -> Result<bool, ApiError> {
    let truth = given.as_ref().map(Truth::get).transpose();
    truth.map(Option::unwrap_or_default).map_err(|reason| ApiError::bad_request(format!("{name}: {reason}")))
}

pub(crate) async fn roll_back(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let body: Body = context.json()?;
    if body.plugin.is_some() || body.config.is_some() || body.upgrade.is_some() {
        return Err(ApiError::bad_request(
            "a rollback goes to the generation before; to choose one, swap to it with plugin and config",
        ));
    }
    Ok(Answer::system(answer(context, &body, SwapRequest::BACK).await?))
}

async fn answer(context: &RequestContext<'_>, body: &Body, asked: SwapRequest) -> Result<Value, ApiError> {
    let data = match (said("migrate", &body.migrate)?, said("discard", &body.discard)?) {
        (true, true) => return Err(ApiError::bad_request("either migrate or discard, not both")),
        (true, false) => Data::Migrated,
        (false, true) => Data::Discarded,
        (false, false) => Data::Kept,
    };
    super::exists(context)?;
    // What this request has used itself must not be waited for.
    context.call.work.unpin();
    let swapped = context.call.core.swapping().swap(context.name, SwapRequest { data, ..asked }).await?;
    Ok(describe(&swapped))
}

fn describe(swapped: &Swapped) -> Value {
    json!({
        "from": swapped.from.as_ref().map(side),
        "to": side(&swapped.to),
        "kind": if swapped.is_reopening() { "reopening" } else { "swap" },
        "way": swapped.way.name(),
        "waited_ms": millis(swapped.waited),
        "migrated_records": swapped.migrated,
        "rehearsal": match &swapped.rehearsed {
            None => "not needed: it has worked before".to_owned(),
            Some(Rehearsed::Passed) => "passed".to_owned(),
            Some(Rehearsed::Skipped(why)) => format!("SKIPPED: {why}"),
        },
    })
}

fn side(side: &Side) -> Value {
    json!({
        "generation": side.generation,
        "plugin": side.plugin,
        "version": side.version.to_string(),
        "digest": side.digest.map(|digest| digest.to_string()),
        "data_format": side.data_format,
    })
}
