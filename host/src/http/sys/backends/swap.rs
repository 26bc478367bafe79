//! Swapping a backend, and going back.

use keyway_loader::{
    Requirement, Swapped,
    probe::Rehearsed,
    swap::{Data, Side, Way},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    core::SwapRequest,
    http::{
        answer::Answer,
        error::ApiError,
        given::{Truth, refuse_unknown},
        route::At,
    },
    storage::unit,
};

#[derive(Deserialize)]
struct Body {
    plugin: Option<String>,
    config: Option<Map<String, Value>>,
    migrate: Option<Truth>,
    discard: Option<Truth>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

pub(in crate::http::sys) async fn swap(at: &At<'_>) -> Result<Answer, ApiError> {
    let body: Body = at.json()?;
    let plugin = body.plugin.as_deref().map(Requirement::parse).transpose();
    let plugin = plugin.map_err(|reason| ApiError::bad_request(format!("plugin: {reason}")))?;
    let config = body.config.clone().map(Value::Object);
    answer(at, &body, SwapRequest { plugin, config, ..SwapRequest::NEWEST }).await
}

pub(in crate::http::sys) async fn roll_back(at: &At<'_>) -> Result<Answer, ApiError> {
    let body: Body = at.json()?;
    if body.plugin.is_some() || body.config.is_some() {
        return Err(ApiError::bad_request(
            "a rollback goes to the generation before; to choose one, swap to it with plugin and config",
        ));
    }
    answer(at, &body, SwapRequest::BACK).await
}

async fn answer(at: &At<'_>, body: &Body, asked: SwapRequest) -> Result<Answer, ApiError> {
    refuse_unknown(&body.other)?;
    let said = |name: &str, given: &Option<Truth>| {
        let truth = given.as_ref().map(Truth::get).transpose();
        truth
            .map(Option::unwrap_or_default)
            .map_err(|reason| ApiError::bad_request(format!("{name}: {reason}")))
    };
    let data = match (said("migrate", &body.migrate)?, said("discard", &body.discard)?) {
        (true, true) => return Err(ApiError::bad_request("either migrate or discard, not both")),
        (true, false) => Data::Migrated,
        (false, true) => Data::Discarded,
        (false, false) => Data::Kept,
    };
    super::exists(at)?;
    // What this request has used itself must not be waited for.
    unit::let_go();
    let swapped = at.call.core.swap(at.name, SwapRequest { data, ..asked }).await?;
    Ok(Answer::system(describe(&swapped)))
}

fn describe(swapped: &Swapped) -> Value {
    json!({
        "from": side(&swapped.from),
        "to": side(&swapped.to),
        "kind": if swapped.is_reopening() { "reopening" } else { "swap" },
        "way": match swapped.way {
            Way::Beside => "beside",
            Way::Held => "held",
        },
        "waited_ms": u64::try_from(swapped.waited.as_millis()).unwrap_or(u64::MAX),
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
