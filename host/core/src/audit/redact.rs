//! Hashes in the place of values: HMAC-SHA256 under a key of the cluster's that rotation never changes, so
//! that equal values have equal hashes for as long as the cluster lives. Names of fields, and null, stay as
//! they are.

use std::{cell::Cell, fmt};

use data_encoding::HEXLOWER;
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::barrier::Barrier;

/// About how many bytes one value, or the frame of a field, takes.
const VALUE_BYTES: usize = 80;

/// What hashes, of an unsealed server.
#[derive(Clone, Copy)]
pub struct Hashes<'b>(&'b Barrier);

impl<'b> Hashes<'b> {
    /// By the keys of this barrier.
    pub fn new(barrier: &'b Barrier) -> Self {
        Self(barrier)
    }

    /// The hash of a text, as `sys/audit-hash` answers it.
    pub fn text(self, text: &str) -> String {
        format!("hmac-sha256:{}", HEXLOWER.encode(&self.0.name("audit", text)))
    }

    /// A JSON text with the hash of each value: of a text itself, of numbers and truth values as JSON writes
    /// them. A text that is no JSON, or would take about more than `most` bytes, becomes one hash.
    pub fn json(self, json: &str, most: usize) -> Value {
        let left = Cell::new(most);
        let hash = |text: &str| self.text(text);
        let mut reader = serde_json::Deserializer::from_str(json);
        let redacted = Redact { hash: &hash, left: &left }.deserialize(&mut reader);
        match redacted.and_then(|value| reader.end().map(|()| value)) {
            Ok(value) => value,
            Err(_) => Value::String(self.text(json)),
        }
    }
}

struct Redact<'r> {
    hash: &'r dyn Fn(&str) -> String,
    left: &'r Cell<usize>,
}

impl Redact<'_> {
    fn spend<E: Error>(&self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(bytes).ok_or_else(|| E::custom("too much for a line"))?;
        self.left.set(left);
        Ok(())
    }

    fn hash<E: Error>(&self, text: &str) -> Result<Value, E> {
        self.spend(VALUE_BYTES)?;
        Ok(Value::String((self.hash)(text)))
    }

    fn inner(&self) -> Self {
        Redact { hash: self.hash, left: self.left }
    }
}

impl<'de> DeserializeSeed<'de> for Redact<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Redact<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.spend(4)?;
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.hash(if value { "true" } else { "false" })
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.hash(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.hash(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.hash(&Number::from_f64(value).map(|number| number.to_string()).unwrap_or_default())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.hash(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.spend(2)?;
        let mut redacted = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner())? {
            redacted.push(item);
        }
        Ok(Value::Array(redacted))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        self.spend(2)?;
        let mut redacted = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            // As it will be written: a control character takes six bytes.
            self.spend(name.len() + 5 * name.bytes().filter(|byte| *byte < b' ').count() + 4)?;
            redacted.insert(name, fields.next_value_seed(self.inner())?);
        }
        Ok(Value::Object(redacted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(json: &str, bytes: usize) -> Option<Value> {
        let left = Cell::new(bytes);
        let hash = |text: &str| format!("<{text}>");
        let redact = Redact { hash: &hash, left: &left };
        redact.deserialize(&mut serde_json::Deserializer::from_str(json)).ok()
    }

    #[test]
    fn every_value_is_hashed_and_names_stay() {
        let json = r#"{"a":"x","b":[1,-2,1.5,true,null,{"c":"\u0041"}],"d":{}}"#;
        let redacted = redact(json, 10_000).unwrap();
        let expected = r#"{"a":"<x>","b":["<1>","<-2>","<1.5>","<true>",null,{"c":"<A>"}],"d":{}}"#;
        assert_eq!(redacted, serde_json::from_str::<Value>(expected).unwrap());
    }

    #[test]
    fn what_is_too_much_for_a_line_is_not_spelled_out() {
        let many = format!("[{}]", vec!["1"; 20].join(","));
        assert!(redact(&many, 20 * VALUE_BYTES + 2).is_some());
        assert!(redact(&many, 20 * VALUE_BYTES + 1).is_none());
        assert!(redact(&format!("{{\"{}\":1}}", "n".repeat(1_000)), 1_000).is_none());
        assert!(redact(&format!("{{\"{}\":1}}", "\\u0001".repeat(200)), 1_000).is_none());
        assert!(redact(&format!("[{}]", vec!["[]"; 1_000].join(",")), 1_000).is_none());
    }
}
