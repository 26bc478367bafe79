//! Numbers, truth values and lists of numbers as clients send them: Vault takes them as text too, and its command line sends
//! nothing else.

use serde::Deserialize;

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
            Self::Text(text) => text.trim().parse().map_err(|_| format!("{text:?} is not a number")),
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
                _ => Err(format!("{text:?} is neither true nor false")),
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
