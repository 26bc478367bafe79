//! Re-encryption of old records: beginning and ending it, and how far it is. Keyway's own: Vault has none.

use keyway_core::Reencryption;
use serde_json::{Value, json};

use crate::{answer::Answer, error::ApiError, route::RequestContext};

pub(crate) async fn status(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let present = context.call.core.mount_control().reencryption(&context.call.work).await?;
    Ok(Answer::system(present.as_ref().map_or_else(|| json!({ "state": "none" }), told)))
}

pub(crate) async fn begin(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::system(told(&context.call.core.mount_control().begin_reencryption(&context.call.work).await?)))
}

pub(crate) async fn cancel(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    context.call.core.mount_control().cancel_reencryption(&context.call.work).await?;
    Ok(Answer::Nothing)
}

fn told(present: &Reencryption) -> Value {
    let state = match (&present.ended, present.is_cancelled) {
        (None, _) => "running",
        (Some(_), true) => "cancelled",
        (Some(_), false) => "done",
    };
    json!({
        "state": state,
        "key": present.key,
        "started": present.started,
        "ended": present.ended,
        "seen": present.seen,
        "sealed": present.sealed,
        "failed": present.failed,
        "waiting_for": present.waiting_for,
    })
}
