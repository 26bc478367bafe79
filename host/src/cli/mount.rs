//! `keyway mount`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use clap::Subcommand;
use serde_json::{Value, json};

use super::{client::Client, failure::Failure, kv::encode};
use keyway_terminal::output::{Format, print, table};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the mounts, and on which backends they are.
    List,
    /// Make a mount.
    Create {
        /// Where, such as team/kv.
        path: String,
        /// Which of Vault's key-value engines: 2 keeps versions, 1 does not.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
        kv_version: u8,
        /// On which backend; without it the system's.
        #[arg(long)]
        backend: Option<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Take a mount away with all its secrets, for good.
    Remove {
        /// Where.
        path: String,
        /// Do it without asking twice: the path again.
        #[arg(long, value_name = "PATH")]
        confirm: String,
    },
}

pub(super) fn run(client: &Client, command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::List => list(client, format),
        Command::Create { path, kv_version, backend, description } => {
            let mut options = json!({ "version": kv_version.to_string() });
            if let (Some(backend), Some(options)) = (backend, options.as_object_mut()) {
                options.insert("backend".to_owned(), backend.into());
            }
            let body = json!({ "type": "kv", "description": description, "options": options }).to_string();
            client.post(&url(&path), &body)?.success(&format!("make the mount {path}"))?;
            print(format, &json!({ "path": path, "mounted": true }), || format!("{path} is mounted.\n"))?;
            Ok(())
        }
        Command::Remove { path, confirm } => {
            if path.trim_matches('/') != confirm.trim_matches('/') {
                let message = format!("--confirm says {confirm:?}, and not {path:?}; nothing was removed");
                return Err(Failure::Usage(message));
            }
            client.delete(&url(&path))?.success(&format!("remove the mount {path}"))?;
            print(format, &json!({ "path": path, "mounted": false }), || {
                format!("{path} is no longer mounted, and its secrets are being removed.\n")
            })?;
            Ok(())
        }
    }
}

fn url(path: &str) -> String {
    format!("sys/mounts/{}", encode(path.trim_matches('/')))
}

fn list(client: &Client, format: Format) -> Result<(), Failure> {
    let mounts = client.get("sys/mounts")?.success("list the mounts")?.json()?["data"].clone();
    print(format, &mounts, || {
        let mut rows = vec![["Path", "Type", "Backend", "Description"].map(str::to_owned).to_vec()];
        let text = |mount: &Value, name: &str| mount[name].as_str().unwrap_or_default().to_owned();
        rows.extend(
            mounts
                .as_object()
                .into_iter()
                .flatten()
                // Mounts that always exist are not listed.
                .filter(|(_, mount)| mount["type"] != "cubbyhole" && mount["type"] != "system")
                .map(|(path, mount)| {
                    let kind = format!("kv {}", mount["options"]["version"].as_str().unwrap_or("1"));
                    vec![path.clone(), kind, text(mount, "backend"), text(mount, "description")]
                }),
        );
        table(&rows)
    })?;
    Ok(())
}
