//! `subkeys`: the names in a secret, without its values.

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::{VersionAnswer, deleted, requested_version};
use crate::{
    http::{Action, Call, answer, error::ApiError},
    secrets::{Engine, Read, SecretPath},
};

pub(super) async fn dispatch(
    call: &Call,
    engine: &Engine<'_>,
    path: &SecretPath,
) -> Result<Response, ApiError> {
    if call.action != Action::Read {
        return Err(ApiError::MethodNotAllowed);
    }
    // Zero and nothing are no limit.
    let depth = match call.query("depth").map(|depth| depth.parse::<usize>()) {
        None | Some(Ok(0)) => usize::MAX,
        Some(Ok(depth)) => depth,
        Some(Err(_)) => return Err(ApiError::bad_request("depth must be a number")),
    };
    match engine.read(path, requested_version(call)?).await? {
        Read::Missing => Err(ApiError::NotFound),
        Read::Deleted(found) => Ok(deleted(call, "subkeys", &found)),
        Read::Value(found, value) => {
            let fields: Map<String, Value> = serde_json::from_slice(&value)
                .map_err(|_| ApiError::Internal("the secret's value is not what was written".to_owned()))?;
            let subkeys = names(fields, depth);
            Ok(answer::kv(call.id, json!({ "subkeys": subkeys, "metadata": VersionAnswer::new(&found) })))
        }
    }
}

/// The names of an object, with those of the objects in it, so deep; all else is null.
fn names(fields: Map<String, Value>, depth: usize) -> Value {
    let below = |value| match value {
        Value::Object(inner) if depth > 1 && !inner.is_empty() => names(inner, depth - 1),
        _ => Value::Null,
    };
    Value::Object(fields.into_iter().map(|(name, value)| (name, below(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_to_the_depth_and_values_never() {
        let Value::Object(fields) = json!({"a": 1, "b": {"c": {"d": "x"}, "e": {}}, "f": [{"g": 1}]}) else {
            unreachable!()
        };
        let all = json!({"a": null, "b": {"c": {"d": null}, "e": null}, "f": null});
        assert_eq!(names(fields.clone(), usize::MAX), all);
        assert_eq!(names(fields.clone(), 1), json!({"a": null, "b": null, "f": null}));
        assert_eq!(names(fields, 2), json!({"a": null, "b": {"c": null, "e": null}, "f": null}));
    }
}
