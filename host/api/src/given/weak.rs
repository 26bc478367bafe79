//! Values of a type that clients send as another: text for a number, a number for a truth value. Converted as
//! OpenBao converts them (mapstructure's weak decoding); anything else is refused by the field's name.

use std::{collections::BTreeMap, fmt};

use ipnet::IpNet;
use keyway_core::token::networks;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, Visitor},
};

use crate::error::ApiError;

/// A number, its text, or a truth value for 1 and 0.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Number {
    Integer(i64),
    Truth(bool),
    Text(String),
    Other(IgnoredAny),
}

impl Number {
    pub(crate) fn get(&self) -> Result<i64, String> {
        match self {
            Self::Integer(number) => Ok(*number),
            Self::Truth(truth) => Ok(i64::from(*truth)),
            Self::Text(text) => integer(text).ok_or_else(not_a_number),
            Self::Other(_) => Err(not_a_number()),
        }
    }
}

fn not_a_number() -> String {
    "it is not a whole number".to_owned()
}

/// A whole number as Go writes it in its source: `0x10` and `010` are 16 and 8, and `1_000` is a thousand. No
/// text is zero.
fn integer(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = unsigned.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0b", 2), ("0o", 8)];
    let prefixed = prefixes.iter().find_map(|(prefix, base)| Some((*base, lower.strip_prefix(prefix)?)));
    let (base, digits) = match prefixed {
        // An underscore may follow the prefix.
        Some((base, digits)) => (base, digits.strip_prefix('_').unwrap_or(digits)),
        None if lower.len() > 1 && lower.starts_with('0') => (8, lower.as_str()),
        None => (10, lower.as_str()),
    };
    let are_parted = digits.split('_').all(|part| !part.is_empty());
    if !are_parted || digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), base).ok()
}

/// A truth value, its text, or a number that is 1 or 0.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Truth {
    Bool(bool),
    Number(i64),
    Text(String),
    Other(IgnoredAny),
}

impl Truth {
    pub(crate) fn get(&self) -> Result<bool, String> {
        let wrong = || Err("it is neither true nor false".to_owned());
        match self {
            Self::Bool(truth) => Ok(*truth),
            Self::Number(1) => Ok(true),
            Self::Number(0) => Ok(false),
            Self::Text(text) => match text.as_str() {
                // What Go's ParseBool takes; no text is false.
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
                "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
                _ => wrong(),
            },
            Self::Number(_) | Self::Other(_) => wrong(),
        }
    }
}

/// Text; a number or a truth value (1 or 0) becomes text.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text(pub(crate) String);

impl Text {
    /// The text, if there is any.
    pub(crate) fn filled(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|text| !text.is_empty())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;

        impl Visitor<'_> for Scalar {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Text, E> {
                Ok(Text(text))
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Text, E> {
                Ok(Text(u8::from(truth).to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Text, E> {
                // As JSON writes it: 1.0 stays apart from 1.
                Ok(Text(
                    serde_json::Number::from_f64(number).map(|number| number.to_string()).unwrap_or_default(),
                ))
            }

            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(Scalar)
    }
}

/// Numbers as a list, as one number, or as text parted by commas.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Numbers {
    List(Vec<Number>),
    One(Number),
}

impl Numbers {
    pub(crate) fn get(&self) -> Result<Vec<i64>, String> {
        match self {
            Self::List(numbers) => numbers.iter().map(Number::get).collect(),
            Self::One(Number::Text(text)) if text.is_empty() => Ok(Vec::new()),
            Self::One(Number::Text(text)) => {
                text.split(',').map(|part| Number::Text(part.trim().to_owned()).get()).collect()
            }
            Self::One(number) => Ok(vec![number.get()?]),
        }
    }
}

/// Texts as a list, or as one text parted by commas. An empty object is an empty list, as Go's clients send it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Texts {
    List(Vec<Text>),
    One(Text),
    None(Nothing),
}

/// An object without fields.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

impl Texts {
    /// Each of them, without blanks at their ends; those without anything else are left out.
    pub(crate) fn get(&self) -> Vec<String> {
        self.trimmed().filter(|text| !text.is_empty()).map(str::to_owned).collect()
    }

    /// As [`get`](Self::get), for fields in which one text is one item, with its commas.
    pub(crate) fn get_unparted(&self) -> Vec<String> {
        match self {
            Self::One(Text(text)) => {
                Some(text.trim().to_owned()).filter(|text| !text.is_empty()).into_iter().collect()
            }
            Self::List(_) | Self::None(_) => self.get(),
        }
    }

    fn trimmed(&self) -> impl Iterator<Item = &str> {
        let several: Vec<&str> = match self {
            Self::List(texts) => texts.iter().map(|text| text.0.as_str()).collect(),
            Self::One(Text(text)) if text.is_empty() => Vec::new(),
            Self::One(Text(text)) => text.split(',').collect(),
            Self::None(_) => Vec::new(),
        };
        several.into_iter().map(str::trim)
    }

    /// As networks. An item without anything in it is refused: fewer networks may bind less.
    pub(crate) fn networks(&self, name: &str) -> Result<Vec<IpNet>, ApiError> {
        let texts: Vec<String> = self.trimmed().map(str::to_owned).collect();
        networks(&texts).map_err(|why| ApiError::bad_request(format!("{name}: {why}")))
    }
}

/// Names and texts: an object, `a=b` as text, or a list of these.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Pairs {
    Object(BTreeMap<String, Text>),
    List(Vec<Pairs>),
    Text(String),
    Other(IgnoredAny),
}

impl Pairs {
    pub(crate) fn get(&self) -> Result<BTreeMap<String, String>, String> {
        let wrong = || "write an object of texts, or NAME=VALUE".to_owned();
        match self {
            Self::Object(fields) => {
                Ok(fields.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect())
            }
            Self::List(pairs) => {
                let mut all = BTreeMap::new();
                for pairs in pairs {
                    all.extend(pairs.get()?);
                }
                Ok(all)
            }
            Self::Text(text) => {
                let (name, value) =
                    text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
                Ok(BTreeMap::from([(name.trim().to_owned(), value.trim().to_owned())]))
            }
            Self::Other(_) => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;

    use super::*;

    fn given<T: DeserializeOwned, R>(json: &str, get: impl Fn(&T) -> Result<R, String>) -> Result<R, String> {
        get(&serde_json::from_str::<T>(json).map_err(|error| error.to_string())?)
    }

    fn all_are<R: PartialEq + Debug>(texts: &[&str], get: impl Fn(&str) -> Result<R, String>, right: &R) {
        for json in texts {
            assert_eq!(get(json).as_ref(), Ok(right), "{json}");
        }
    }

    fn none_is<R: Debug>(texts: &[&str], get: impl Fn(&str) -> Result<R, String>) {
        for json in texts {
            assert!(get(json).is_err(), "{json}: {:?}", get(json));
        }
    }

    #[test]
    fn numbers_are_taken_from_text_and_truth() {
        let number = |json: &str| given(json, Number::get);
        all_are(&["5", r#""5""#, r#""+5""#, r#""0x5""#, r#""05""#, r#""0b101""#], number, &5);
        all_are(&["1000", r#""1_000""#], number, &1_000);
        all_are(&[r#""""#, "0", "false"], number, &0);
        all_are(&["true", "1"], number, &1);
        all_are(&["-1", r#""-1""#, r#""-0x1""#], number, &-1);
        none_is(&["1.5", r#""1.5""#, r#"" 5""#, r#""1e2""#, r#""_1""#, r#""1__0""#, r#""--1""#], number);
        none_is(&[r#""09""#, "[]", "[5]", "{}", "18446744073709551615", r#""0x-1""#], number);
    }

    #[test]
    fn truth_is_taken_from_text_and_numbers() {
        let truth = |json: &str| given(json, Truth::get);
        all_are(
            &["true", "1", r#""1""#, r#""t""#, r#""T""#, r#""true""#, r#""True""#, r#""TRUE""#],
            truth,
            &true,
        );
        all_are(&["false", "0", r#""0""#, r#""F""#, r#""False""#, r#""""#], truth, &false);
        none_is(&["5", r#""5""#, r#""yes""#, r#"" true""#, r#""tRUE""#, "1.5", "[]", "[true]", "{}"], truth);
    }

    #[test]
    fn texts_are_taken_from_numbers_and_truth() {
        let texts = |json: &str| given(json, |texts: &Texts| Ok(texts.get()));
        let both = ["a".to_owned(), "b".to_owned()].to_vec();
        all_are(&[r#""a,b""#, r#""a, b""#, r#""a,,b""#, r#"["a","b"]"#, r#"[" a ","","b"]"#], texts, &both);
        all_are(&[r#"["a,b"]"#], texts, &vec!["a,b".to_owned()]);
        all_are(&["5", r#"[5]"#, r#"["5",null]"#], texts, &vec!["5".to_owned()]);
        all_are(&["true", "[true]"], texts, &vec!["1".to_owned()]);
        all_are(&["[1.5]"], texts, &vec!["1.5".to_owned()]);
        all_are(&[r#""""#, "[]", "{}", r#"["", " "]"#], texts, &Vec::new());
        none_is(&[r#"{"a":"b"}"#, r#"[["a"]]"#, "[{}]"], texts);
        let unparted = |json: &str| given(json, |texts: &Texts| Ok(texts.get_unparted()));
        all_are(&[r#""a,b""#, r#"["a,b"]"#, r#"" a,b ""#], unparted, &vec!["a,b".to_owned()]);
    }

    #[test]
    fn networks_without_text_are_refused() {
        let bound = |json: &str| {
            given(json, |texts: &Texts| texts.networks("x").map_err(|error| format!("{error:?}")))
        };
        assert_eq!(bound(r#""10.0.0.0/8, 1.2.3.4""#).map(|bound| bound.len()), Ok(2));
        all_are(&[r#""""#, "[]"], bound, &Vec::new());
        none_is(&[r#"[""]"#, r#""10.0.0.0/8,""#, "5", r#"["x"]"#], bound);
    }

    #[test]
    fn pairs_are_objects_or_their_text() {
        let pairs = |json: &str| given(json, Pairs::get);
        let one = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        all_are(&[r#"{"a":"b"}"#, r#""a=b""#, r#"["a=b"]"#, r#"[{"a":"b"}]"#], pairs, &one);
        let one = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        all_are(&[r#"{"a":1}"#, r#"{"a":true}"#, r#""a=1""#], pairs, &one);
        all_are(&["{}", "[]"], pairs, &BTreeMap::new());
        let one = BTreeMap::from([("a".to_owned(), "b,c=d".to_owned())]);
        all_are(&[r#""a=b,c=d""#], pairs, &one);
        none_is(&[r#""""#, "5", r#"{"a":{}}"#, r#"{"a":["x"]}"#, r#""=b""#], pairs);
    }

    #[test]
    fn numbers_are_a_list_or_text_parted_by_commas() {
        let numbers = |json: &str| given(json, Numbers::get);
        all_are(&["[1,2]", r#"["1",2]"#, r#""1, 2""#, r#""1,2""#, r#"[true,"0x2"]"#], numbers, &vec![1, 2]);
        all_are(&["7", r#""7""#], numbers, &vec![7]);
        all_are(&[r#""""#, "[]"], numbers, &Vec::new());
        none_is(&[r#""one""#, "[{}]", "{}", "1.5", r#""1,x""#], numbers);
    }
}
