//! `subkeys`: the names in a secret, without its values.

use keyway_common::json::text::outline;
use keyway_core::secrets::Read;
use serde::Serialize;
use serde_json::value::RawValue;

use super::secret::{VersionAnswer, deleted, engine, requested_version, secret};
use crate::{answer::Answer, error::ApiError, route::RequestContext};

#[derive(Serialize)]
struct SubkeysAnswer<'a> {
    subkeys: Box<RawValue>,
    metadata: VersionAnswer<'a>,
}

pub(super) async fn read(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let call = context.call;
    // Zero and nothing are no limit.
    let depth = match call.query("depth").map(|depth| depth.parse::<usize>()) {
        None | Some(Ok(0)) => usize::MAX,
        Some(Ok(depth)) => depth,
        Some(Err(_)) => return Err(ApiError::bad_request("depth must be a number")),
    };
    match engine(context).await?.read(&secret(context)?, requested_version(call)?).await? {
        Read::Missing => Err(ApiError::NotFound),
        Read::Deleted(found) => Ok(deleted("subkeys", &found)),
        Read::Value(found, value) => {
            call.hold(value.len(), false)?;
            let subkeys = String::from_utf8(outline(&value, depth)).ok();
            let subkeys = subkeys.and_then(|text| RawValue::from_string(text).ok());
            let subkeys = subkeys
                .ok_or_else(|| ApiError::Internal("the secret's value is not what was written".to_owned()))?;
            Ok(Answer::kv(SubkeysAnswer { subkeys, metadata: VersionAnswer::new(&found) }))
        }
    }
}
