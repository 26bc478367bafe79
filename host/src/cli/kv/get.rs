//! `keyway kv get`, and reading a version for whoever else needs it.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use serde::Deserialize;
use serde_json::Value;

use super::{
    fields::{Fields, plain},
    path::{Located, locate},
};
use crate::{
    cli::{
        client::Client,
        failure::Failure,
        output::{Format, alone, pairs, say, table},
    },
    json,
};

#[derive(Deserialize)]
struct Body {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    data: Option<Fields>,
    metadata: Value,
}

/// A version that was read.
pub(super) struct Version {
    pub(super) fields: Fields,
    pub(super) metadata: Value,
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
        // To the letter: through a Value, long numbers would be rounded.
        Format::Json => {
            let data = serde_json::to_string(&fields).expect("fields are plain data");
            say(&format!("{{\"data\":{data},\"metadata\":{metadata}}}\n"))?;
        }
        Format::Table => {
            let number = metadata["version"].to_string();
            let created = metadata["created_time"].as_str().unwrap_or_default().to_owned();
            let mut rows = vec![vec!["Field".to_owned(), "Value".to_owned()]];
            rows.extend(fields.0.iter().map(|(name, value)| vec![name.clone(), plain(value)]));
            say(&format!("{}\n{}", pairs(&[("Version", number), ("Created", created)]), table(&rows)))?;
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
    let mut url = located.url("data");
    if let Some(version) = version {
        url.push_str(&format!("?version={version}"));
    }
    let doing =
        version.map_or_else(|| format!("read {path}"), |version| format!("read version {version} of {path}"));
    let answer = client.get(&url)?;
    let parsed: Option<Body> = serde_json::from_str(answer.text()).ok();
    if answer.status == 404
        && let Some(body) = parsed.filter(|body| body.data.data.is_none())
    {
        let number = &body.data.metadata["version"];
        let message = if body.data.metadata["destroyed"] == true {
            format!("{doing}: this version is destroyed, and its value is gone")
        } else {
            format!(
                "{doing}: this version is deleted; `keyway kv undelete {path} --versions {number}` brings it back"
            )
        };
        return Err(Failure::NotFound(message));
    }
    let answer = answer.success(&doing)?;
    let body: Body = serde_json::from_str(answer.text())
        .map_err(|error| Failure::Other(format!("{doing}: the answer is not understood: {error}")))?;
    let fields = body.data.data.unwrap_or(json::Fields(Vec::new()));
    Ok(Version { fields, metadata: body.data.metadata })
}
