//! JSON merge patches (RFC 7396), to the letter: values that a patch does not touch keep every digit.

use std::collections::HashMap;

use serde_json::value::RawValue;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::json::Fields;

/// A patch, or what it is to change, that is no JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MergeError {
    /// The patch.
    #[error("the patch is no JSON object")]
    Patch,
    /// What is stored.
    #[error("the secret is no JSON object")]
    Target,
}

/// `target` with `patch` applied; both are JSON objects.
///
/// # Errors
///
/// See [`MergeError`].
pub fn merge(target: &[u8], patch: &[u8]) -> Result<Zeroizing<Vec<u8>>, MergeError> {
    let target: &RawValue = serde_json::from_slice(target).map_err(|_| MergeError::Target)?;
    let patch: &RawValue = serde_json::from_slice(patch).map_err(|_| MergeError::Patch)?;
    if !is_object(patch) {
        return Err(MergeError::Patch);
    }
    // Enough at once, so that no half-written copy is left behind by growing.
    let mut merged = Zeroizing::new(Vec::with_capacity(target.get().len() + patch.get().len() + 2));
    write(Some(target), patch, &mut merged)?;
    Ok(merged)
}

fn write(target: Option<&RawValue>, patch: &RawValue, merged: &mut Vec<u8>) -> Result<(), MergeError> {
    if !is_object(patch) {
        merged.extend_from_slice(patch.get().as_bytes());
        return Ok(());
    }
    let patch: Fields<&RawValue> = serde_json::from_str(patch.get()).map_err(|_| MergeError::Patch)?;
    let target: Fields<&RawValue> = match target.filter(|target| is_object(target)) {
        Some(target) => serde_json::from_str(target.get()).map_err(|_| MergeError::Target)?,
        None => Fields(Vec::new()),
    };
    let patches: HashMap<&str, &RawValue> =
        patch.0.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let known: std::collections::HashSet<&str> = target.0.iter().map(|(name, _)| name.as_str()).collect();
    merged.push(b'{');
    let mut first = true;
    for (name, value) in &target.0 {
        match patches.get(name.as_str()) {
            None => {
                write_name(name, &mut first, merged);
                merged.extend_from_slice(value.get().as_bytes());
            }
            Some(patch) if is_null(patch) => {}
            Some(patch) => {
                write_name(name, &mut first, merged);
                write(Some(value), patch, merged)?;
            }
        }
    }
    for (name, patch) in
        patch.0.iter().filter(|(name, patch)| !known.contains(name.as_str()) && !is_null(patch))
    {
        write_name(name, &mut first, merged);
        write(None, patch, merged)?;
    }
    merged.push(b'}');
    Ok(())
}

fn write_name(name: &str, first: &mut bool, merged: &mut Vec<u8>) {
    if !std::mem::take(first) {
        merged.push(b',');
    }
    serde_json::to_writer(&mut *merged, name).expect("a text is JSON, and a Vec takes it");
    merged.push(b':');
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(target: &str, patch: &str) -> String {
        String::from_utf8(merge(target.as_bytes(), patch.as_bytes()).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn examples_of_rfc_7396_appendix_a_whose_patch_is_an_object() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r"{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            (r"{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(merged(target, patch), result, "{target} {patch}");
        }
    }

    #[test]
    fn digits_and_spelling_of_what_is_not_touched_are_kept() {
        let target = r#"{"n":12345678901234567890123,"x": {"y": 1.10, "z" : [ 1 ]}}"#;
        assert_eq!(
            merged(target, r#"{"x":{"w":0.0000000000000000000000001}}"#),
            r#"{"n":12345678901234567890123,"x":{"y":1.10,"z":[ 1 ],"w":0.0000000000000000000000001}}"#
        );
    }

    #[test]
    fn patch_that_is_no_object_is_refused() {
        for patch in ["[]", "1", "null", "\"x\"", "", "{"] {
            assert_eq!(merge(b"{}", patch.as_bytes()).unwrap_err(), MergeError::Patch, "{patch}");
        }
    }
}
