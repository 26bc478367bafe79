//! `keyway kv metadata`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use clap::{Args, Subcommand};
use keyway_terminal::output::{Format, pairs, print, table};
use serde_json::{Map, Value, json};

use super::path::{Part, locate};
use crate::cli::{client::Client, failure::Failure};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Show the metadata of a secret and of its versions.
    Get {
        /// The secret, with its mount.
        path: String,
    },
    /// Set what a secret says; custom metadata are replaced.
    Put {
        /// The secret, with its mount.
        path: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Change what a secret says; custom metadata are merged.
    Patch {
        /// The secret, with its mount.
        path: String,
        #[command(flatten)]
        settings: Settings,
        /// A name to take out of the custom metadata. May be repeated.
        #[arg(long, value_name = "NAME")]
        remove: Vec<String>,
    },
    /// Remove a secret with all its versions, for good.
    Delete {
        /// The secret, with its mount.
        path: String,
    },
}

/// The settings of a secret's versions, and its custom metadata.
#[derive(Debug, Args)]
pub(in crate::cli) struct Settings {
    /// How many versions are kept; 0 takes the mount's setting.
    #[arg(long)]
    max_versions: Option<u32>,
    /// Whether writes must say which version they follow.
    #[arg(long)]
    cas_required: Option<bool>,
    /// After how long a version counts as deleted, such as 30m or 48h; 0s takes the mount's setting.
    #[arg(long)]
    delete_version_after: Option<String>,
    /// Custom metadata. May be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    custom: Vec<String>,
}

pub(super) fn run(client: &Client, command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::Get { path } => get(client, &path, format),
        Command::Put { path, settings } => {
            let body = body(&settings, &[])?;
            let url = locate(client, &path)?.url(Part::Metadata)?;
            client.post(&url, &body)?.success(&format!("write the metadata of {path}"))?;
            done(&path, "changed", format)
        }
        Command::Patch { path, settings, remove } => {
            let body = body(&settings, &remove)?;
            let url = locate(client, &path)?.url(Part::Metadata)?;
            client.patch(&url, &body)?.success(&format!("change the metadata of {path}"))?;
            done(&path, "changed", format)
        }
        Command::Delete { path } => {
            client
                .delete(&locate(client, &path)?.url(Part::Metadata)?)?
                .success(&format!("remove {path}"))?;
            done(&path, "removed", format)
        }
    }
}

fn done(path: &str, what: &str, format: Format) -> Result<(), Failure> {
    print(format, &json!({ "path": path, "done": what }), || match what {
        "removed" => format!("{path} is removed with all its versions.\n"),
        _ => format!("The metadata of {path} are changed.\n"),
    })?;
    Ok(())
}

fn body(settings: &Settings, remove: &[String]) -> Result<String, Failure> {
    let mut custom = Map::new();
    for pair in &settings.custom {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| Failure::Usage(format!("{pair:?} is not NAME=VALUE")))?;
        custom.insert(name.to_owned(), value.into());
    }
    custom.extend(remove.iter().map(|name| (name.clone(), Value::Null)));
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        body.extend(value.map(|value| (name.to_owned(), value)));
    };
    set("max_versions", settings.max_versions.map(Value::from));
    set("cas_required", settings.cas_required.map(Value::from));
    set("delete_version_after", settings.delete_version_after.clone().map(Value::from));
    set("custom_metadata", (!custom.is_empty()).then_some(Value::Object(custom)));
    if body.is_empty() {
        return Err(Failure::Usage(
            "nothing is to be changed; see `keyway kv metadata put --help`".to_owned(),
        ));
    }
    Ok(Value::Object(body).to_string())
}

fn get(client: &Client, path: &str, format: Format) -> Result<(), Failure> {
    let url = locate(client, path)?.url(Part::Metadata)?;
    let metadata =
        client.get(&url)?.success(&format!("read the metadata of {path}"))?.json()?["data"].clone();
    print(format, &metadata, || describe(&metadata))?;
    Ok(())
}

fn describe(metadata: &Value) -> String {
    let text = |name: &str| match &metadata[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let or_mount = |name: &str, unset: &str| match text(name) {
        said if said == unset => "as the mount says".to_owned(),
        said => said,
    };
    let mut rows = vec![
        ("Current version", text("current_version")),
        ("Created", text("created_time")),
        ("Changed", text("updated_time")),
        ("Versions kept", or_mount("max_versions", "0")),
        ("Check-and-set required", text("cas_required")),
        ("Deleted after", or_mount("delete_version_after", "0s")),
    ];
    let custom: Vec<String> = metadata["custom_metadata"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    rows.push(("Custom metadata", custom.join(", ")));
    let mut versions: Vec<(u64, &Value)> = metadata["versions"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(number, version)| Some((number.parse().ok()?, version)))
        .collect();
    versions.sort_by_key(|(number, _)| *number);
    let mut lines = vec![["Version", "Created", "State"].map(str::to_owned).to_vec()];
    for (number, version) in versions {
        let deleted = version["deletion_time"].as_str().unwrap_or_default();
        let state = match (version["destroyed"] == true, deleted) {
            (true, _) => "destroyed".to_owned(),
            (false, "") => String::new(),
            (false, time) => format!("deleted at {time}"),
        };
        let created = version["created_time"].as_str().unwrap_or_default().to_owned();
        lines.push(vec![number.to_string(), created, state]);
    }
    format!("{}\n{}", pairs(&rows), table(&lines))
}
