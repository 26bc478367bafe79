//! `keyway backend swap`, `rollback` and `upgrade`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use std::fs;

use clap::Args;
use keyway_terminal::output::text;
use serde_json::{Value, json};

use crate::cli::{client::Client, failure::Failure, kv::encode};
use keyway_terminal::output::{Format, pairs, print};

#[derive(Debug, Args)]
pub(in crate::cli) struct Swap {
    /// Which backend.
    name: String,
    /// Another plugin or version than the configuration asks for, as NAME or NAME@REQUIREMENT. A restart takes
    /// the newest again that the configuration asks for, but for versions that were swapped for something older.
    #[arg(long)]
    plugin: Option<String>,
    /// Other settings than the configuration's, as a JSON object or @FILE. A restart goes by the
    /// configuration again.
    #[arg(long)]
    config: Option<String>,
    /// Bring the data format to the new version's afterwards, as `keyway backend upgrade` does.
    #[arg(long)]
    upgrade: bool,
    #[command(flatten)]
    data: Data,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rollback {
    /// Which backend.
    name: String,
    #[command(flatten)]
    data: Data,
}

/// What becomes of a store that is in memory.
#[derive(Debug, Args)]
struct Data {
    /// Of a store that is in memory: copy its records.
    #[arg(long, conflicts_with = "discard")]
    migrate: bool,
    /// Of a store that is in memory: lose its records.
    #[arg(long)]
    discard: bool,
}

pub(super) fn swap(client: &Client, given: Swap, format: Format) -> Result<(), Failure> {
    let Swap { name, plugin, config, upgrade, data } = given;
    let mut body = json!({ "migrate": data.migrate, "discard": data.discard, "upgrade": upgrade });
    if let Some(fields) = body.as_object_mut() {
        fields.extend(plugin.map(|plugin| ("plugin".to_owned(), plugin.into())));
        if let Some(config) = config {
            fields.insert("config".to_owned(), settings(&config)?);
        }
    }
    ask(client, &name, "swap", &body, format)
}

pub(super) fn roll_back(client: &Client, given: &Rollback, format: Format) -> Result<(), Failure> {
    let body = json!({ "migrate": given.data.migrate, "discard": given.data.discard });
    ask(client, &given.name, "rollback", &body, format)
}

pub(super) fn upgrade(client: &Client, name: &str, format: Format) -> Result<(), Failure> {
    let url = format!("sys/backends/{}/upgrade", encode(name));
    let answer = client.post(&url, "{}")?.success(&format!("upgrade backend {name}"))?.json()?;
    print(format, &answer["data"], || pairs(&upgrade_rows(&answer["data"])))?;
    Ok(())
}

fn upgrade_rows(upgraded: &Value) -> Vec<(&'static str, String)> {
    let formats = format!("{} → {}", text(&upgraded["from_data_format"]), text(&upgraded["to_data_format"]));
    let backup = format!("{} ({} records)", text(&upgraded["backup"]), text(&upgraded["backup_records"]));
    vec![
        ("Data format", formats),
        ("Backup", backup),
        ("Requests waited", format!("{} ms", text(&upgraded["waited_ms"]))),
    ]
}

/// A JSON object, or an at sign and the name of a file.
fn settings(given: &str) -> Result<Value, Failure> {
    let text = match given.strip_prefix('@') {
        Some(path) => {
            fs::read_to_string(path).map_err(|error| Failure::Other(format!("read {path}: {error}")))?
        }
        None => given.to_owned(),
    };
    let settings: Value = serde_json::from_str(&text).map_err(|error| {
        Failure::Usage(format!("--config is no JSON: {error}; write '{{\"path\": \"keyway.db\"}}' or @FILE"))
    })?;
    if settings.is_object() {
        Ok(settings)
    } else {
        Err(Failure::Usage("--config is no JSON object".to_owned()))
    }
}

fn ask(client: &Client, name: &str, what: &str, body: &Value, format: Format) -> Result<(), Failure> {
    let url = format!("sys/backends/{}/{what}", encode(name));
    let answer = client.post(&url, &body.to_string())?.success(&format!("{what} backend {name}"))?.json()?;
    let swapped = &answer["data"];
    print(format, swapped, || {
        let side = |side: &Value| format!("{} {}", text(&side["plugin"]), text(&side["version"]));
        let mut rows = vec![
            ("Before", side(&swapped["from"])),
            ("Now", side(&swapped["to"])),
            ("SHA-256", text(&swapped["to"]["digest"])),
            ("Generation", text(&swapped["to"]["generation"])),
        ];
        if swapped["kind"] == "reopening" {
            rows.push(("Note", "the same library: its store was opened again".to_owned()));
        }
        if swapped["way"] == "held" {
            rows.push(("Requests waited", format!("{} ms", text(&swapped["waited_ms"]))));
        }
        if !swapped["migrated_records"].is_null() {
            rows.push(("Records copied", text(&swapped["migrated_records"])));
        }
        rows.push(("Tried on an empty store", text(&swapped["rehearsal"])));
        if !swapped["upgrade"].is_null() {
            rows.extend(upgrade_rows(&swapped["upgrade"]));
        }
        pairs(&rows)
    })?;
    Ok(())
}
