//! The settings of a backend.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use keyway_terminal::Failure;
use serde_json::Value;

/// The settings, from where `--config` says that they are.
pub(crate) fn read(given: &str) -> Result<Value, Failure> {
    let text = match given.strip_prefix('@') {
        None => given.to_owned(),
        Some("-") => {
            let mut text = String::new();
            let read = io::stdin().read_to_string(&mut text);
            read.map_err(|error| Failure::Other(format!("read standard input: {error}")))?;
            text
        }
        Some(path) => {
            fs::read_to_string(path).map_err(|error| Failure::file("read", Path::new(path), &error))?
        }
    };
    // The text stays out of the message: it may hold a password.
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Failure::Usage(format!("the settings in --config are not JSON ({place})"))
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Failure::Usage(
            "the settings in --config are not a JSON object, such as {\"path\": \"k.db\"}".to_owned(),
        ))
    }
}
