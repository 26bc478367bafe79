//! `keyway kv put` and `patch`.
use keyway_common::json;
use keyway_terminal::output::{Format, print};
use serde_json::value::RawValue;

use super::{
    fields::{Fields, parse_fields},
    path::{Located, Part, locate},
};
use crate::cli::{client::Client, failure::Failure};

pub(super) fn put(
    client: &Client,
    path: &str,
    fields: &[String],
    cas: Option<u64>,
    format: Format,
) -> Result<(), Failure> {
    let fields = parse_fields(fields)?;
    let version = write(client, &locate(client, path)?, path, &fields, cas)?;
    report(path, version, format)
}

pub(super) fn patch(
    client: &Client,
    path: &str,
    fields: &[String],
    remove: &[String],
    cas: Option<u64>,
    format: Format,
) -> Result<(), Failure> {
    let mut fields = if fields.is_empty() { json::Fields(Vec::new()) } else { parse_fields(fields)? };
    for name in remove {
        if fields.0.iter().any(|(known, _)| known == name) {
            return Err(Failure::Usage(format!("the field {name:?} is both set and removed")));
        }
        let null = RawValue::from_string("null".to_owned()).expect("null is JSON");
        fields.0.push((name.clone(), null));
    }
    let located = locate(client, path)?;
    located.require_version_2("patches; write the whole secret with `keyway kv put`")?;
    let answer = client.patch(&located.url(Part::Data)?, &located.body(&fields, cas)?)?;
    let version = located.written(&answer.success(&format!("patch {path}"))?.json()?, path)?;
    report(path, version, format)
}

/// Writes a secret, and answers its new version; none in a mount of version 1.
pub(super) fn write(
    client: &Client,
    located: &Located,
    path: &str,
    fields: &Fields,
    cas: Option<u64>,
) -> Result<Option<u64>, Failure> {
    let answer = client.post(&located.url(Part::Data)?, &located.body(fields, cas)?)?;
    located.written(&answer.success(&format!("write {path}"))?.json()?, path)
}

fn report(path: &str, version: Option<u64>, format: Format) -> Result<(), Failure> {
    print(format, &serde_json::json!({ "path": path, "version": version }), || told(path, version))
}

/// One line for people about a secret that was written.
pub(super) fn told(path: &str, version: Option<u64>) -> String {
    match version {
        Some(version) => format!("{path} is at version {version}.\n"),
        None => format!("{path} is written.\n"),
    }
}
