//! `keyway backend`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use std::fs;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{
    client::Client,
    failure::Failure,
    kv::encode,
    output::{Format, pairs, print, table},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the backends with their plugins.
    List,
    /// Say how the backends are; exit code 6 where one does not serve.
    Health {
        /// This one alone.
        name: Option<String>,
    },
    /// Have the newest version of a backend's plugin serve, without a restart.
    ///
    /// The new version is loaded, tried, and put in the place of the old one; requests wait for it where the store can only be
    /// open once. If anything goes wrong, the old version serves on.
    Swap {
        /// Which backend.
        name: String,
        /// Another plugin or version than the configuration asks for, as NAME or NAME@REQUIREMENT. A restart goes by the
        /// configuration again.
        #[arg(long)]
        plugin: Option<String>,
        /// Other settings than the configuration's, as a JSON object or @FILE. A restart goes by the configuration again.
        #[arg(long)]
        config: Option<String>,
        #[command(flatten)]
        data: Data,
    },
    /// Go back to the version that served before the last swap.
    Rollback {
        /// Which backend.
        name: String,
        #[command(flatten)]
        data: Data,
    },
    /// Say what a backend promises.
    Capabilities {
        /// Which.
        name: String,
    },
}

/// What becomes of a store that is in memory.
#[derive(Debug, clap::Args)]
pub(super) struct Data {
    /// Of a store that is in memory: copy its records.
    #[arg(long, conflicts_with = "discard")]
    migrate: bool,
    /// Of a store that is in memory: lose its records.
    #[arg(long)]
    discard: bool,
}

pub(super) fn run(client: &Client, command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::List => list(client, format),
        Command::Health { name } => health(client, name.as_deref(), format),
        Command::Swap { name, plugin, config, data } => {
            let mut body = json!({ "migrate": data.migrate, "discard": data.discard });
            if let (Some(fields), Some(plugin)) = (body.as_object_mut(), plugin) {
                fields.insert("plugin".to_owned(), plugin.into());
            }
            if let (Some(fields), Some(config)) = (body.as_object_mut(), config) {
                fields.insert("config".to_owned(), settings(&config)?);
            }
            swap(client, &name, "swap", &body, format)
        }
        Command::Rollback { name, data } => {
            let body = json!({ "migrate": data.migrate, "discard": data.discard });
            swap(client, &name, "rollback", &body, format)
        }
        Command::Capabilities { name } => capabilities(client, &name, format),
    }
}

/// A JSON object, or the file behind an at sign.
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

fn swap(client: &Client, name: &str, what: &str, body: &Value, format: Format) -> Result<(), Failure> {
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
            rows.push(("Note", "the same library: its store was opened anew".to_owned()));
        }
        if swapped["way"] == "held" {
            rows.push(("Requests waited", format!("{} ms", text(&swapped["waited_ms"]))));
        }
        if !swapped["migrated_records"].is_null() {
            rows.push(("Records copied", text(&swapped["migrated_records"])));
        }
        rows.push(("Tried on an empty store", text(&swapped["rehearsal"])));
        pairs(&rows)
    })?;
    Ok(())
}

fn backends(client: &Client, name: Option<&str>) -> Result<Map<String, Value>, Failure> {
    let Some(name) = name else {
        let all = client.get("sys/backends")?.success("ask for the backends")?.json()?;
        return Ok(all["data"]["backends"].as_object().cloned().unwrap_or_default());
    };
    let url = format!("sys/backends/{}", encode(name));
    let one = client.get(&url)?.success(&format!("ask for the backend {name}"))?.json()?;
    Ok(Map::from_iter([(name.to_owned(), one["data"].clone())]))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        value => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    }
}

fn is_ready(backend: &Value) -> bool {
    ["live", "readable", "writable"].iter().all(|name| backend["health"][name] == true)
}

fn state(backend: &Value) -> String {
    let detail = text(&backend["health"]["detail"]);
    let mut state = match (is_ready(backend), backend["circuit"] == "closed") {
        (true, _) => "ready".to_owned(),
        (false, true) => format!("not ready: {detail}"),
        (false, false) => format!("not ready, circuit {}: {detail}", text(&backend["circuit"])),
    };
    if backend["fallback"].is_string() {
        state.push_str("; fallback: not the plugin that the configuration asks for");
    }
    if text(&backend["trust"]).contains("SKIPPED") {
        state.push_str(&format!("; {}", text(&backend["trust"])));
    }
    state
}

/// Why a backend is not open, or was opened with another plugin: all that is known.
fn reason(backend: &Value) -> Option<&str> {
    backend["reason"].as_str().or_else(|| backend["fallback"].as_str())
}

fn list(client: &Client, format: Format) -> Result<(), Failure> {
    let backends = backends(client, None)?;
    print(format, &backends, || {
        let mut rows =
            vec![["Backend", "Plugin", "Version", "Durability", "State"].map(str::to_owned).to_vec()];
        rows.extend(backends.iter().map(|(name, backend)| {
            let durability = text(&backend["capabilities"]["durability"]);
            vec![
                name.clone(),
                text(&backend["plugin"]),
                text(&backend["version"]),
                durability,
                state(backend),
            ]
        }));
        table(&rows)
    })?;
    Ok(())
}

fn health(client: &Client, name: Option<&str>, format: Format) -> Result<(), Failure> {
    let backends = backends(client, name)?;
    let health: Map<String, Value> = backends
        .iter()
        .map(|(name, backend)| {
            (
                name.clone(),
                json!({
                    "health": backend["health"], "circuit": backend["circuit"], "reason": reason(backend),
                }),
            )
        })
        .collect();
    print(format, &health, || {
        let mut rows = vec![["Backend", "State"].map(str::to_owned).to_vec()];
        rows.extend(backends.iter().map(|(name, backend)| vec![name.clone(), state(backend)]));
        let reasons = backends.iter().filter_map(|(name, backend)| Some((name, reason(backend)?)));
        table(&rows) + &reasons.map(|(name, reason)| format!("\n{name}: {reason}\n")).collect::<String>()
    })?;
    let down: Vec<&str> =
        backends.iter().filter(|(_, backend)| !is_ready(backend)).map(|(name, _)| name.as_str()).collect();
    if down.is_empty() {
        return Ok(());
    }
    Err(Failure::Unavailable(format!("not ready: {}", down.join(", "))))
}

fn capabilities(client: &Client, name: &str, format: Format) -> Result<(), Failure> {
    let backends = backends(client, Some(name))?;
    let backend = backends.get(name).cloned().unwrap_or_default();
    let promised = &backend["capabilities"];
    if promised.is_null() {
        let reason = reason(&backend).unwrap_or("it is not open");
        return Err(Failure::Unavailable(format!("backend {name} promises nothing now: {reason}")));
    }
    print(format, promised, || {
        let features: Vec<String> = promised["features"].as_array().into_iter().flatten().map(text).collect();
        let limits = &promised["limits"];
        pairs(&[
            ("Plugin", format!("{} {}", text(&backend["plugin"]), text(&backend["version"]))),
            ("SHA-256", text(&backend["digest"])),
            ("Durability", text(&promised["durability"])),
            ("Isolation", text(&promised["isolation"])),
            ("Features", features.join(", ")),
            ("Data format", text(&promised["data_format"])),
            ("Longest key", format!("{} bytes", text(&limits["key_bytes"]))),
            ("Longest value", format!("{} bytes", text(&limits["value_bytes"]))),
            (
                "Batch",
                format!("{} operations, {} bytes", text(&limits["batch_ops"]), text(&limits["batch_bytes"])),
            ),
        ])
    })?;
    Ok(())
}
