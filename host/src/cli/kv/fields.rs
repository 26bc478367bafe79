//! Fields of secrets on the command line: `NAME=VALUE`, files, standard input.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::Path,
};

use keyway_common::json;
use serde_json::value::RawValue;

use crate::cli::{failure::Failure, prompt};

/// The fields of a secret, each value exactly.
pub(in crate::cli) type Fields = json::Fields<Box<RawValue>>;

/// A text without its quotes, anything else as JSON.
pub(in crate::cli) fn plain(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

/// The fields that the arguments name.
pub(super) fn parse_fields(arguments: &[String]) -> Result<Fields, Failure> {
    if let [only] = arguments
        && (only == "-" || only.starts_with('@'))
    {
        let text = read_argument(only)?;
        return serde_json::from_str(&text)
            .map_err(|error| Failure::Usage(format!("{only} is no JSON object ({})", place(&error))));
    }
    let (mut fields, mut from_input): (Vec<(String, Box<RawValue>)>, bool) = (Vec::new(), false);
    for (index, argument) in arguments.iter().enumerate() {
        // The texts show no more than names: the rest of an argument may be a password.
        let Some((name, value)) = argument.split_once('=') else {
            return Err(Failure::Usage(format!("field {} is not NAME=VALUE", index + 1)));
        };
        if name.is_empty() || fields.iter().any(|(known, _)| known == name) {
            return Err(Failure::Usage(format!(
                "field {}: the name {name:?} is empty or a duplicate",
                index + 1
            )));
        }
        let value = match value.strip_prefix('\\').filter(|rest| rest.starts_with(['@', '-'])) {
            Some(escaped) => escaped.to_owned(),
            None if value.starts_with('@') => read_argument(value).map_err(|_| {
                Failure::NotFound(format!(
                    "the file for field {name:?} cannot be read; a value that begins with @ is written as \\@"
                ))
            })?,
            None if value == "-" => {
                if std::mem::replace(&mut from_input, true) {
                    return Err(Failure::Usage("only one value can come from standard input".to_owned()));
                }
                read_value(name)?
            }
            None => value.to_owned(),
        };
        fields.push((name.to_owned(), text_value(&value)));
    }
    Ok(json::Fields(fields))
}

/// Where JSON is wrong, without serde_json's text, which quotes what it does not like.
pub(in crate::cli) fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// A text as a JSON value.
pub(in crate::cli) fn text_value(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a text is JSON")
}

/// One value from standard input, which is not echoed on a terminal; from elsewhere exactly, newlines included.
fn read_value(name: &str) -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        return Ok(prompt::secret(&format!("Value of {name}: "))?.to_string());
    }
    read_argument("-")
}

/// `-` is standard input, `@FILE` a file; as it is, without a newline at the end being taken off.
fn read_argument(argument: &str) -> Result<String, Failure> {
    if argument == "-" {
        let mut text = String::new();
        let read = io::stdin().read_to_string(&mut text);
        return read.map(|_| text).map_err(|error| Failure::Other(format!("read standard input: {error}")));
    }
    let path = Path::new(argument.strip_prefix('@').unwrap_or(argument));
    fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))
}
