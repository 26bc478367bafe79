//! Numbers, truth values, durations and lists as clients send them: Vault takes them as text too, and its command line sends
//! nothing else.

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use super::{Call, error::ApiError};
use crate::{duration::Given, token::networks};

/// The query parameters of a list.
pub(super) const PART: &[&str] = &["after", "limit"];

/// Which part of a list the query asks for: behind which name, and how many. As OpenBao has it, nothing, zero and less are
/// no limit.
pub(super) fn part(call: &Call) -> Result<(Option<String>, Option<usize>), ApiError> {
    let after = call.query("after").filter(|after| !after.is_empty());
    let limit = match call.query("limit").map(|limit| limit.parse::<i64>()) {
        None => None,
        Some(Ok(limit)) => usize::try_from(limit).ok().filter(|limit| *limit > 0),
        Some(Err(_)) => return Err(ApiError::bad_request("limit must be a number")),
    };
    Ok((after, limit))
}

/// A number, or its text.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Number {
    Number(i64),
    Text(String),
}

impl Number {
    pub(super) fn get(&self) -> Result<i64, String> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => text.trim().parse().map_err(|_| "it is not a number".to_owned()),
        }
    }
}

/// A truth value, or its text.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Truth {
    Bool(bool),
    Text(String),
}

impl Truth {
    pub(super) fn get(&self) -> Result<bool, String> {
        match self {
            Self::Bool(truth) => Ok(*truth),
            Self::Text(text) => match text.as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err("it is neither true nor false".to_owned()),
            },
        }
    }
}

/// Numbers as a list, as one number, or as text parted by commas.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Numbers {
    List(Vec<Number>),
    One(Number),
}

impl Numbers {
    pub(super) fn get(&self) -> Result<Vec<i64>, String> {
        match self {
            Self::List(numbers) => numbers.iter().map(Number::get).collect(),
            Self::One(Number::Number(number)) => Ok(vec![*number]),
            Self::One(Number::Text(text)) => {
                text.split(',').map(|part| Number::Text(part.to_owned()).get()).collect()
            }
        }
    }
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

/// Texts as a list, or as one text parted by commas.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Texts {
    List(Vec<String>),
    One(String),
}

impl Texts {
    /// Each of them, without blanks at their ends.
    pub(super) fn get(&self) -> Vec<String> {
        let several: Vec<&str> = match self {
            Self::List(texts) => texts.iter().map(String::as_str).collect(),
            Self::One(text) => text.split(',').collect(),
        };
        several.into_iter().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect()
    }

    /// As networks.
    pub(super) fn networks(&self, name: &str) -> Result<Vec<IpNet>, ApiError> {
        networks(&self.get()).map_err(|why| ApiError::bad_request(format!("{name}: {why}")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_taken_for_what_it_says() {
        let numbers = |json: &str| serde_json::from_str::<Numbers>(json).map_err(|_| String::new())?.get();
        for json in ["[1,2]", "[\"1\",2]", "\"1, 2\"", "\"1,2\""] {
            assert_eq!(numbers(json), Ok(vec![1, 2]), "{json}");
        }
        assert_eq!(numbers("7"), Ok(vec![7]));
        for json in ["\"one\"", "[null]", "{}", "\"\"", "1.5"] {
            assert!(numbers(json).is_err(), "{json}");
        }
        let truth = |json: &str| serde_json::from_str::<Truth>(json).map_err(|_| String::new())?.get();
        assert_eq!((truth("true"), truth("\"false\""), truth("\"1\"")), (Ok(true), Ok(false), Ok(true)));
        assert!(truth("\"yes\"").is_err() && truth("1").is_err());
    }
}
