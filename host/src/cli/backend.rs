//! `keyway backend`: [`swap`] has another version serve, [`restore`] puts a backup, or another store, in its
//! place.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

mod restore;
mod swap;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{client::Client, connection::Server, failure::Failure, kv::encode};
use keyway_terminal::output::{Format, pairs, print, table, text};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the backends with their plugins.
    List,
    /// Say how the backends are; exit code 6 if one does not serve.
    Health {
        /// This one alone.
        name: Option<String>,
    },
    /// Have the newest version of a backend's plugin serve, without a restart.
    ///
    /// The new version is loaded, tried, and put in the place of the old one; requests wait for it if the
    /// store can only be open once. If anything goes wrong, the old version serves on.
    Swap(swap::Swap),
    /// Go back to the version that served before the last swap.
    Rollback(swap::Rollback),
    /// Bring the data format of a backend's store to that of its plugin, after a backup to data_dir/backups.
    ///
    /// Older versions of the plugin cannot read the store afterwards.
    Upgrade {
        /// Which backend.
        name: String,
    },
    /// Write all records of a backend's store to a file, while no server has it open: what `restore` takes,
    /// with any plugin.
    ///
    /// The records are sealed. The keys are among them, protected by the shares. Relative paths are relative
    /// to this directory.
    Archive(restore::Archive),
    /// Put a backup into a backend's store, while no server has it open.
    Restore(restore::Restore),
    /// Accept a backend's store as it is now, while no server has it open. Use it after you have put back an
    /// older copy.
    ///
    /// The server remembers which data format each store has, and uses no version that does not know it.
    Adopt(restore::Store),
    /// Say what a backend promises.
    Capabilities {
        /// Which.
        name: String,
    },
}

pub(super) fn run(server: Server, command: Command, format: Format) -> Result<(), Failure> {
    let client = move || Client::new(server);
    match command {
        Command::List => list(&client()?, format),
        Command::Health { name } => health(&client()?, name.as_deref(), format),
        Command::Swap(given) => swap::swap(&client()?, given, format),
        Command::Rollback(given) => swap::roll_back(&client()?, &given, format),
        Command::Upgrade { name } => swap::upgrade(&client()?, &name, format),
        Command::Archive(archive) => restore::archive(&archive, format),
        Command::Restore(restore) => restore::restore(&restore, format),
        Command::Adopt(store) => restore::adopt(&store, format),
        Command::Capabilities { name } => capabilities(&client()?, &name, format),
    }
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
