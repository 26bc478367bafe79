//! Valid JSON texts, read in one pass: what a large object needs in memory is its text, and no node for each
//! of its fields.

use std::borrow::Cow;

/// The fields of a valid JSON object in the order in which they stand: each name without its quotes, as it is
/// spelled, and each value.
pub struct Members<'t> {
    rest: &'t [u8],
}

impl<'t> Members<'t> {
    /// The fields of `valid`; none if it is not an object.
    pub fn of(valid: &'t [u8]) -> Self {
        Self { rest: valid.trim_ascii_start().strip_prefix(b"{").unwrap_or_default() }
    }
}

impl<'t> Iterator for Members<'t> {
    type Item = (&'t [u8], &'t [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let name;
        (name, self.rest) = next_name(self.rest)?;
        let length = value_length(self.rest);
        let (value, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some((name, value))
    }
}

/// The names in a valid JSON object and in the objects in it, `depth` levels deep, as an object whose leaves
/// are null. Values are not told, and an empty object is a leaf.
pub fn outline(valid: &[u8], depth: usize) -> Vec<u8> {
    let mut outline = Vec::new();
    let rest = valid.trim_ascii_start().strip_prefix(b"{").unwrap_or_default();
    write_outline(rest, depth, &mut outline);
    outline
}

/// Writes the outline of the object whose fields begin `rest`; answers the text after the object.
fn write_outline<'t>(mut rest: &'t [u8], depth: usize, outline: &mut Vec<u8>) -> &'t [u8] {
    let mut is_first = true;
    outline.push(b'{');
    while let Some((name, value)) = next_name(rest) {
        if !std::mem::take(&mut is_first) {
            outline.push(b',');
        }
        outline.push(b'"');
        outline.extend_from_slice(name);
        outline.extend_from_slice(b"\":");
        let begun = outline.len();
        rest = match value.strip_prefix(b"{") {
            Some(fields) if depth > 1 => write_outline(fields, depth - 1, outline),
            _ => value.get(value_length(value)..).unwrap_or_default(),
        };
        if outline.len() <= begun + b"{}".len() {
            outline.truncate(begun);
            outline.extend_from_slice(b"null");
        }
    }
    outline.push(b'}');
    // The next closing bracket is this object's.
    let end = rest.iter().position(|byte| *byte == b'}').map_or(rest.len(), |end| end + 1);
    rest.get(end..).unwrap_or_default()
}

/// The next name of an object, and the text from its value on; none at the object's end.
fn next_name(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let begin = rest.iter().position(|byte| matches!(byte, b'"' | b'}'))?;
    let rest = rest.get(begin..)?.strip_prefix(b"\"")?;
    let (name, rest) = split_string(rest);
    let colon = rest.iter().position(|byte| *byte == b':')?;
    Some((name, rest.get(colon + 1..)?.trim_ascii_start()))
}

/// How long the value is that a valid text begins with.
fn value_length(text: &[u8]) -> usize {
    let (mut depth, mut rest) = (0_usize, text);
    while let Some((byte, behind)) = rest.split_first() {
        match byte {
            // What follows a value that is no bracket.
            b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => break,
            b'"' => rest = split_string(behind).1,
            b'{' | b'[' => {
                depth += 1;
                rest = behind;
            }
            b'}' | b']' => {
                depth -= 1;
                rest = behind;
            }
            _ => rest = behind,
        }
        if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
            break;
        }
    }
    text.len() - rest.len()
}

/// The text before the closing quote of a string, and the text after it.
pub(super) fn split_string(rest: &[u8]) -> (&[u8], &[u8]) {
    let mut from = 0;
    while let Some(found) =
        rest.get(from..).and_then(|rest| rest.iter().position(|byte| matches!(byte, b'"' | b'\\')))
    {
        let at = from + found;
        if rest.get(at) == Some(&b'"') {
            let (text, behind) = rest.split_at(at);
            return (text, behind.get(1..).unwrap_or_default());
        }
        // A backslash, and what it escapes.
        from = at + 2;
    }
    (rest, &[])
}

/// A name as its readers see it: `\u0061` is `a`.
pub fn unescaped(name: &[u8]) -> Cow<'_, [u8]> {
    if !name.contains(&b'\\') {
        return Cow::Borrowed(name);
    }
    let quoted = [b"\"", name, b"\""].concat();
    serde_json::from_slice::<String>(&quoted)
        .map_or(Cow::Borrowed(name), |text| Cow::Owned(text.into_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn members_are_names_and_values_as_they_are_spelled() {
        let text = r#" { "a\"}" : [1, {"x": "]"}] ,"b":"\\","c":-1.50 , "d":{},"\u0065":null}"#;
        let members: Vec<(&str, &str)> = Members::of(text.as_bytes())
            .map(|(name, value)| (std::str::from_utf8(name).unwrap(), std::str::from_utf8(value).unwrap()))
            .collect();
        let expected = [
            (r#"a\"}"#, r#"[1, {"x": "]"}]"#),
            ("b", r#""\\""#),
            ("c", "-1.50"),
            ("d", "{}"),
            (r"\u0065", "null"),
        ];
        assert_eq!(members, expected);
        assert_eq!(&*unescaped(br"\u0065"), b"e");
        for empty in ["{}", " { } ", "[]", "1"] {
            assert_eq!(Members::of(empty.as_bytes()).count(), 0, "{empty}");
        }
    }

    #[test]
    fn names_are_told_to_the_depth_and_values_never() {
        let object = br#"{"a": 1, "b": {"c": {"d": "x}"}, "e": { }} , "f": [{"g": 1}],"h\"":{"i":{}}}"#;
        let outlined = |depth| serde_json::from_slice::<Value>(&outline(object, depth)).unwrap();
        let all = json!({"a": null, "b": {"c": {"d": null}, "e": null}, "f": null, "h\"": {"i": null}});
        assert_eq!(outlined(usize::MAX), all);
        assert_eq!(outlined(1), json!({"a": null, "b": null, "f": null, "h\"": null}));
        let two = json!({"a": null, "b": {"c": null, "e": null}, "f": null, "h\"": {"i": null}});
        assert_eq!(outlined(2), two);
        assert_eq!(outline(b"{ }", 1), b"{}");
    }
}
