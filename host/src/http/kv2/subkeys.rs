//! `subkeys`: the names in a secret, without its values.

use serde_json::{Map, Value, json, value::RawValue};

use super::{VersionAnswer, deleted, engine, requested_version, secret};
use crate::{
    http::{answer::Answer, error::ApiError, route::At},
    json::Fields,
    secrets::Read,
};

pub(super) async fn read(at: &At<'_>) -> Result<Answer, ApiError> {
    let call = at.call;
    // Zero and nothing are no limit.
    let depth = match call.query("depth").map(|depth| depth.parse::<usize>()) {
        None | Some(Ok(0)) => usize::MAX,
        Some(Ok(depth)) => depth,
        Some(Err(_)) => return Err(ApiError::bad_request("depth must be a number")),
    };
    match engine(at).await?.read(&secret(at)?, requested_version(call)?).await? {
        Read::Missing => Err(ApiError::NotFound),
        Read::Deleted(found) => Ok(deleted("subkeys", &found)),
        Read::Value(found, value) => {
            call.hold(value.len(), false)?;
            let subkeys = names(&value, depth)
                .map_err(|_| ApiError::Internal("the secret's value is not what was written".to_owned()))?;
            Ok(Answer::kv(json!({ "subkeys": subkeys, "metadata": VersionAnswer::new(&found) })))
        }
    }
}

/// The names of an object, with those of the objects in it, so deep; all else is null. Values are not unfolded.
fn names(object: &[u8], depth: usize) -> Result<Value, serde_json::Error> {
    let fields: Fields<&RawValue> = serde_json::from_slice(object)?;
    let mut answer = Map::new();
    for (name, value) in fields.0 {
        let is_deeper = depth > 1 && value.get().starts_with('{');
        let below = if is_deeper { names(value.get().as_bytes(), depth - 1)? } else { Value::Null };
        // An empty object is a leaf.
        answer.insert(name, if below.as_object().is_some_and(Map::is_empty) { Value::Null } else { below });
    }
    Ok(Value::Object(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_to_the_depth_and_values_never() {
        let object = br#"{"a": 1, "b": {"c": {"d": "x"}, "e": {}}, "f": [{"g": 1}]}"#;
        let all = json!({"a": null, "b": {"c": {"d": null}, "e": null}, "f": null});
        assert_eq!(names(object, usize::MAX).unwrap(), all);
        assert_eq!(names(object, 1).unwrap(), json!({"a": null, "b": null, "f": null}));
        assert_eq!(names(object, 2).unwrap(), json!({"a": null, "b": {"c": null, "e": null}, "f": null}));
    }
}
