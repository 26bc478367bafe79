//! JSON merge patches (RFC 7396), exactly: values that a patch does not touch keep every digit.

use keyway_common::json::text::{Members, unescaped};
use serde_json::value::RawValue;
use thiserror::Error;
use zeroize::Zeroizing;

/// A patch, or what it is to change, that is no JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MergeError {
    /// The patch.
    #[error("the patch is no JSON object")]
    Patch,
    /// The stored value.
    #[error("the secret is no JSON object")]
    Target,
}

/// `target` with `patch` applied; both are JSON objects.
///
/// # Errors
///
/// `Patch` if the patch is not a JSON object; `Target` if the secret is not.
pub fn merge(target: &[u8], patch: &[u8]) -> Result<Zeroizing<Vec<u8>>, MergeError> {
    let target: &RawValue = serde_json::from_slice(target).map_err(|_| MergeError::Target)?;
    let patch: &RawValue = serde_json::from_slice(patch).map_err(|_| MergeError::Patch)?;
    let (target, patch) = (target.get().as_bytes(), patch.get().as_bytes());
    if !is_object(patch) {
        return Err(MergeError::Patch);
    }
    // Allocates enough at once: growing would leave a half-written copy in memory.
    let mut merged = Zeroizing::new(Vec::with_capacity(target.len() + patch.len() + 2));
    write(Some(target), patch, &mut merged);
    Ok(merged)
}

/// Writes `target` with `patch` applied. In memory are the names of the patch; the target is gone through once.
fn write(target: Option<&[u8]>, patch: &[u8], merged: &mut Vec<u8>) {
    if !is_object(patch) {
        merged.extend_from_slice(patch);
        return;
    }
    // Enough at once here, too: the most of memory that a large patch takes.
    let mut patches = Vec::with_capacity(Members::of(patch).count());
    patches.extend(Members::of(patch).map(|(name, value)| Patch { name, value, is_applied: false }));
    patches.sort_unstable_by(|one, other| unescaped(one.name).cmp(&unescaped(other.name)));
    merged.push(b'{');
    let mut first = true;
    for (name, value) in target.into_iter().flat_map(Members::of) {
        let found = patches.binary_search_by(|patch| unescaped(patch.name).cmp(&unescaped(name)));
        match found.ok().and_then(|at| patches.get_mut(at)) {
            None => {
                write_name(name, &mut first, merged);
                merged.extend_from_slice(value);
            }
            Some(patch) => {
                patch.is_applied = true;
                if patch.value != b"null" {
                    write_name(name, &mut first, merged);
                    write(Some(value), patch.value, merged);
                }
            }
        }
    }
    for patch in patches.iter().filter(|patch| !patch.is_applied && patch.value != b"null") {
        write_name(patch.name, &mut first, merged);
        write(None, patch.value, merged);
    }
    merged.push(b'}');
}

/// One field of a patch.
struct Patch<'p> {
    /// As it is spelled.
    name: &'p [u8],
    value: &'p [u8],
    /// Whether the target has the field.
    is_applied: bool,
}

fn write_name(name: &[u8], first: &mut bool, merged: &mut Vec<u8>) {
    if !std::mem::take(first) {
        merged.push(b',');
    }
    merged.push(b'"');
    merged.extend_from_slice(name);
    merged.extend_from_slice(b"\":");
}

fn is_object(value: &[u8]) -> bool {
    value.starts_with(b"{")
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
    fn names_are_the_same_in_any_spelling() {
        assert_eq!(merged(r#"{"\u0061":1,"b\"":2}"#, r#"{"a":3,"b\u0022":null}"#), r#"{"\u0061":3}"#);
        assert_eq!(
            merged(r#"{"b":1,"a":{"x":[1,2]}}"#, r#"{"d":{"e":null},"c":1,"a":{"y":2}}"#),
            r#"{"b":1,"a":{"x":[1,2],"y":2},"c":1,"d":{}}"#
        );
    }

    #[test]
    fn patch_that_is_no_object_is_refused() {
        for patch in ["[]", "1", "null", "\"x\"", "", "{"] {
            assert_eq!(merge(b"{}", patch.as_bytes()).unwrap_err(), MergeError::Patch, "{patch}");
        }
    }
}
