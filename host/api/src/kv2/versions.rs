//! `delete`, `undelete`, `destroy`: what becomes of versions by number.

use keyway_core::secrets::{Fate, Which};
use serde::Deserialize;

use super::secret::{engine, secret};
use crate::{answer::Answer, error::ApiError, given::Numbers, route::RequestContext};

/// Most versions that one request names.
const MAX_NAMED: usize = 10_000;

#[derive(Deserialize)]
struct VersionsRequest {
    versions: Option<Numbers>,
}

pub(super) async fn alter(context: &RequestContext<'_>, fate: Fate) -> Result<Answer, ApiError> {
    let (engine, path) = (engine(context).await?, secret(context)?);
    let request: VersionsRequest = context.json()?;
    let numbers = request.versions.map_or(Ok(Vec::new()), |versions| versions.get());
    let numbers = numbers.map_err(|_| ApiError::bad_request("\"versions\" must be numbers"))?;
    if numbers.is_empty() {
        return Err(ApiError::bad_request("no version number provided: \"versions\" is empty"));
    }
    if numbers.len() > MAX_NAMED {
        return Err(ApiError::bad_request(format!("at most {MAX_NAMED} versions at a time")));
    }
    // There is no version with a negative number.
    let numbers: Vec<u64> = numbers.into_iter().filter_map(|number| u64::try_from(number).ok()).collect();
    engine.alter(&path, Which::These(&numbers), fate).await?;
    Ok(Answer::Nothing)
}
