//! `keyway kv import`.

use std::{fs, path::Path};

use keyway_common::json;
use keyway_core::secrets::SecretPath;
use keyway_terminal::output::{Format, print, progress, say};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    dotenv,
    fields::{Fields, place, text_value},
    path::{Located, locate},
    put::{told, write},
};
use crate::cli::{client::Client, failure::Failure};

#[derive(Serialize)]
struct Written {
    path: String,
    /// None in a mount of version 1.
    version: Option<u64>,
}

/// A secret to be written: its name under the target, or the target itself.
struct Planned {
    name: Option<String>,
    fields: Fields,
}

/// Reads the whole file first, so that a mistake in it writes nothing; then writes one secret after the other.
pub(super) fn run(
    client: &Client,
    file: &Path,
    path: &str,
    each: bool,
    format: Format,
) -> Result<(), Failure> {
    let text = fs::read_to_string(file).map_err(|error| Failure::file("read", file, &error))?;
    let planned = plan(file, &text, each)?;
    let target = locate(client, path)?;
    let located = |name: Option<&str>| name.map_or_else(|| target.clone(), |name| target.child(name));
    for Planned { name, .. } in &planned {
        let problem = SecretPath::parse(located(name.as_deref()).rest()).err();
        if let Some(problem) = problem {
            let name = name.as_deref().unwrap_or(path);
            return Err(Failure::Usage(format!(
                "{}: {name:?}: {problem}; nothing was written",
                file.display()
            )));
        }
    }
    let bar = progress("imported", planned.len());
    let mut written = Vec::with_capacity(planned.len());
    for Planned { name, fields } in planned {
        let located = located(name.as_deref());
        bar.inc(1);
        match write_one(client, &located, &fields) {
            Ok(version) => written.push(Written { path: located.path(), version }),
            Err(failure) => {
                bar.finish_and_clear();
                // Tells which writes were acknowledged before it reports the failure.
                if format == Format::Table {
                    for Written { path, version } in &written {
                        say(&told(path, *version))?;
                    }
                }
                report(&written, format)?;
                return Err(failure);
            }
        }
    }
    bar.finish_and_clear();
    report(&written, format)
}

fn write_one(client: &Client, located: &Located, fields: &Fields) -> Result<Option<u64>, Failure> {
    write(client, located, &located.path(), fields, None)
}

fn report(written: &[Written], format: Format) -> Result<(), Failure> {
    print(format, &written, || match written {
        [one] => told(&one.path, one.version),
        many => format!("{} secrets written.\n", many.len()),
    })
}

fn plan(file: &Path, text: &str, each: bool) -> Result<Vec<Planned>, Failure> {
    let wrong =
        |message: String| Failure::Usage(format!("{}: {message}; nothing was written", file.display()));
    let is_json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    if is_json {
        if each {
            return Err(wrong("--each is for .env files".to_owned()));
        }
        return plan_json(text).map_err(wrong);
    }
    let variables = dotenv::parse(text).map_err(|error| wrong(error.to_string()))?;
    if variables.is_empty() {
        return Err(wrong("there is no variable in it".to_owned()));
    }
    let variables = variables.into_iter().map(|(name, value)| (name, text_value(&value)));
    if each {
        return Ok(variables
            .map(|(name, value)| Planned {
                name: Some(name),
                fields: json::Fields(vec![("value".to_owned(), value)]),
            })
            .collect());
    }
    Ok(vec![Planned { name: None, fields: json::Fields(variables.collect()) }])
}

/// An object of objects is many secrets; an object of other values is one.
fn plan_json(text: &str) -> Result<Vec<Planned>, String> {
    let top: Fields =
        serde_json::from_str(text).map_err(|error| format!("it is no JSON object ({})", place(&error)))?;
    let is_object = |value: &RawValue| value.get().starts_with('{');
    let objects = top.0.iter().filter(|(_, value)| is_object(value)).count();
    if top.0.is_empty() {
        return Err("there is no secret in it".to_owned());
    }
    if objects == 0 {
        return Ok(vec![Planned { name: None, fields: top }]);
    }
    if let Some((name, _)) = top.0.iter().find(|(_, value)| !is_object(value)) {
        return Err(format!("{name:?} is no object, and the others are secrets of their own"));
    }
    top.0
        .into_iter()
        .map(|(name, value)| {
            let fields = serde_json::from_str(value.get())
                .map_err(|error| format!("{name:?} is no JSON object ({})", place(&error)))?;
            Ok(Planned { name: Some(name), fields })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(planned: &[Planned]) -> Vec<Option<&str>> {
        planned.iter().map(|planned| planned.name.as_deref()).collect()
    }

    #[test]
    fn object_of_objects_is_many_secrets_and_digits_are_kept() {
        let planned = plan_json(r#"{"a":{"n":12345678901234567890123},"b/c":{"x":[1.10]}}"#).unwrap();
        assert_eq!(names(&planned), [Some("a"), Some("b/c")]);
        assert_eq!(planned[0].fields.0[0].1.get(), "12345678901234567890123");
        assert_eq!(planned[1].fields.0[0].1.get(), "[1.10]");
    }

    #[test]
    fn flat_object_is_one_secret_and_a_mixture_is_refused() {
        assert_eq!(names(&plan_json(r#"{"user":"x","port":1}"#).unwrap()), [None]);
        assert!(plan_json(r#"{"a":{},"b":1}"#).is_err());
        assert!(plan_json("[]").is_err());
        assert!(plan_json("{}").is_err());
        assert!(plan_json(r#"{"a":{},"a":{}}"#).is_err());
    }

    #[test]
    fn dotenv_is_one_secret_or_one_for_each_variable() {
        let file = Path::new("x.env");
        let planned = plan(file, "A=1\nB=2\n", false).unwrap();
        assert_eq!((planned.len(), planned[0].fields.0.len()), (1, 2));
        let planned = plan(file, "A=1\nB=2\n", true).unwrap();
        assert_eq!(names(&planned), [Some("A"), Some("B")]);
    }
}
