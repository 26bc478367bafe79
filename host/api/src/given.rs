//! Numbers, truth values, durations and lists as clients send them: Vault takes them as text too, and its
//! command line sends nothing else.

mod weak;

use keyway_common::duration::Given;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub(super) use self::weak::{Number, Numbers, Pairs, Text, Texts, Truth};
use super::{call::Call, error::ApiError};

/// Tells a `null` from a field that is not there.
pub(super) fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The query parameters of a list.
pub(super) const PART: &[&str] = &["after", "limit"];

/// The part of a list that the query asks for: after which name, and how many. As in OpenBao, a missing, zero
/// or negative number is no limit.
pub(super) fn part(call: &Call) -> Result<(Option<String>, Option<usize>), ApiError> {
    let after = call.query("after").filter(|after| !after.is_empty());
    let limit = match call.query("limit").map(|limit| limit.parse::<i64>()) {
        None => None,
        Some(Ok(limit)) => usize::try_from(limit).ok().filter(|limit| *limit > 0),
        Some(Err(_)) => return Err(ApiError::bad_request("limit must be a number")),
    };
    Ok((after, limit))
}

/// What clients send for "as usual".
pub(super) fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => matches!(text.to_lowercase().as_str(), "" | "0" | "0s" | "f" | "false"),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// A duration in whole seconds, of which a part counts as one.
pub(super) fn seconds(name: &str, given: Option<&Given>) -> Result<u64, ApiError> {
    let wrong = |why: String| ApiError::bad_request(format!("{name}: {why}"));
    let Some(given) = given else { return Ok(0) };
    if matches!(given, Given::Text(text) if text.is_empty()) {
        return Ok(0);
    }
    let nanoseconds = given.nanoseconds().map_err(wrong)?;
    let nanoseconds = u64::try_from(nanoseconds).map_err(|_| wrong("it is negative".to_owned()))?;
    Ok(nanoseconds.div_ceil(1_000_000_000))
}
