//! JSON exactly: objects whose values, digits of any length among them, are kept as they were written.
//! [`text`] goes through valid texts without a tree in memory.

pub mod text;

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasher, RandomState},
    marker::PhantomData,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};

/// The fields of a JSON object in the order in which they stand, no name twice.
#[derive(Debug)]
pub struct Fields<V>(pub Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Fields<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor(PhantomData))
    }
}

struct FieldsVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for FieldsVisitor<V> {
    type Value = Fields<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<V>, A::Error> {
        let (mut fields, mut names) = (Vec::new(), HashSet::new());
        while let Some((name, value)) = map.next_entry::<String, V>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!("{name:?} stands there twice")));
            }
            fields.push((name, value));
        }
        Ok(Fields(fields))
    }
}

impl<V: Serialize> Serialize for Fields<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Whether some object in a valid JSON text has a name twice, at whatever depth: two readers of such a text
/// may see two different values.
pub fn has_repeated_name(valid: &str) -> bool {
    // Hashes instead of names, keyed at random: two names of one object collide in 2^64 / n^2 of all texts.
    let hasher = RandomState::new();
    let mut scopes: Vec<Scope> = Vec::new();
    let mut rest = valid.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'{' => scopes.push(Scope::Object { names: HashSet::new(), at_name: true }),
            b'[' => scopes.push(Scope::Array),
            b'}' | b']' => drop(scopes.pop()),
            b',' => {
                if let Some(Scope::Object { at_name, .. }) = scopes.last_mut() {
                    *at_name = true;
                }
            }
            b'"' => {
                let (text, behind) = text::split_string(rest);
                rest = behind;
                if let Some(Scope::Object { names, at_name }) = scopes.last_mut()
                    && std::mem::take(at_name)
                    && !names.insert(hasher.hash_one(&*text::unescaped(text)))
                {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

enum Scope {
    Array,
    Object { names: HashSet<u64>, at_name: bool },
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn fields_keep_order_and_digits_and_refuse_a_name_twice() {
        let text = r#"{"b":12345678901234567890123,"a":1.10}"#;
        let fields: Fields<Box<RawValue>> = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&fields).unwrap(), text);
        assert!(serde_json::from_str::<Fields<Box<RawValue>>>(r#"{"a":1,"a":2}"#).is_err());
    }

    #[test]
    fn repeated_names_are_found_at_any_depth_and_in_any_spelling() {
        for repeated in [
            r#"{"a":1,"a":2}"#,
            r#"{"x":[{"y":{"a":1,"b":2,"a":3}}]}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a\"b":",",  "a\"b" : 1}"#,
            r#"{"":0,"":0}"#,
        ] {
            assert!(has_repeated_name(repeated), "{repeated}");
        }
        for distinct in [
            "1",
            r#"["a","a"]"#,
            r#"{"a":"a","b":"a"}"#,
            r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#,
            r#"{"a":"\\","b":"\",\"a\":"}"#,
            r#"{"a":["x","y"],"b":1e999}"#,
        ] {
            assert!(!has_repeated_name(distinct), "{distinct}");
        }
    }
}
