//! `keyway kv get`, and reading a version for other commands.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use keyway_common::json;
use keyway_terminal::output::{Format, alone, pairs, say, table};
use serde_json::Value;

use super::{
    fields::{Fields, plain},
    path::{Content, Located, Part, locate},
};
use crate::cli::{client::Client, failure::Failure};

/// A version that was read.
pub(super) struct Version {
    pub(super) fields: Fields,
    /// None in a mount of version 1.
    pub(super) metadata: Option<Value>,
}

pub(super) fn run(
    client: &Client,
    path: &str,
    version: Option<u64>,
    field: Option<&str>,
    format: Format,
) -> Result<(), Failure> {
    let Version { fields, metadata } = read(client, &locate(client, path)?, path, version)?;
    if let Some(name) = field {
        let Some((_, value)) = fields.0.iter().find(|(known, _)| known == name) else {
            let names: Vec<&str> = fields.0.iter().map(|(name, _)| name.as_str()).collect();
            let message = format!("read {path}: there is no field {name:?}; there are: {}", names.join(", "));
            return Err(Failure::NotFound(message));
        };
        return alone(format, value, &plain(value));
    }
    match format {
        // Printed as received: a `Value` would round long numbers.
        Format::Json => {
            let data = serde_json::to_string(&fields).expect("fields are plain data");
            let metadata = metadata.unwrap_or_default();
            say(&format!("{{\"data\":{data},\"metadata\":{metadata}}}\n"))?;
        }
        Format::Table => {
            let head = metadata.map(|metadata| {
                let created = metadata["created_time"].as_str().unwrap_or_default().to_owned();
                pairs(&[("Version", metadata["version"].to_string()), ("Created", created)]) + "\n"
            });
            let mut rows = vec![vec!["Field".to_owned(), "Value".to_owned()]];
            rows.extend(fields.0.iter().map(|(name, value)| vec![name.clone(), plain(value)]));
            say(&format!("{}{}", head.unwrap_or_default(), table(&rows)))?;
        }
    }
    Ok(())
}

/// Reads a version; without a number the current one.
pub(super) fn read(
    client: &Client,
    located: &Located,
    path: &str,
    version: Option<u64>,
) -> Result<Version, Failure> {
    let mut url = located.url(Part::Data)?;
    if let Some(version) = version {
        located.require_version_2("versions")?;
        url.push_str(&format!("?version={version}"));
    }
    let doing =
        version.map_or_else(|| format!("read {path}"), |version| format!("read version {version} of {path}"));
    let answer = client.get(&url)?;
    if answer.status == 404
        && let Ok(Content { fields: None, metadata: Some(metadata) }) = located.content(answer.text())
    {
        let number = &metadata["version"];
        let message = if metadata["destroyed"] == true {
            format!("{doing}: this version is destroyed, and its value is gone")
        } else {
            format!(
                "{doing}: this version is deleted; `keyway kv undelete {path} --versions {number}` brings it back"
            )
        };
        return Err(Failure::NotFound(message));
    }
    let answer = answer.success(&doing)?;
    let Content { fields, metadata } = located
        .content(answer.text())
        .map_err(|error| Failure::Other(format!("{doing}: the answer is not understood: {error}")))?;
    Ok(Version { fields: fields.unwrap_or(json::Fields(Vec::new())), metadata })
}
