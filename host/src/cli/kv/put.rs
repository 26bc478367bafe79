//! `keyway kv put` and `patch`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use serde_json::value::RawValue;

use super::{
    fields::{Fields, parse_fields},
    path::{Located, locate},
};
use crate::{
    cli::{
        client::{Answer, Client},
        failure::Failure,
        output::{Format, print},
    },
    json,
};

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
    let url = locate(client, path)?.url("data");
    let answer = client.patch(&url, &body(&fields, cas))?;
    let version = version_of(&answer.success(&format!("patch {path}"))?, path)?;
    report(path, version, format)
}

/// Writes a secret, and answers its new version.
pub(super) fn write(
    client: &Client,
    located: &Located,
    path: &str,
    fields: &Fields,
    cas: Option<u64>,
) -> Result<u64, Failure> {
    let answer = client.post(&located.url("data"), &body(fields, cas))?;
    version_of(&answer.success(&format!("write {path}"))?, path)
}

fn body(fields: &Fields, cas: Option<u64>) -> String {
    let data = serde_json::to_string(fields).expect("fields are plain data");
    let options = cas.map(|cas| format!(r#","options":{{"cas":{cas}}}"#)).unwrap_or_default();
    format!(r#"{{"data":{data}{options}}}"#)
}

fn version_of(answer: &Answer, path: &str) -> Result<u64, Failure> {
    let version = answer.json()?["data"]["version"].as_u64();
    version.ok_or_else(|| Failure::Other(format!("write {path}: the server did not answer with a version")))
}

fn report(path: &str, version: u64, format: Format) -> Result<(), Failure> {
    print(format, &serde_json::json!({ "path": path, "version": version }), || {
        format!("{path} is at version {version}.\n")
    })
}
