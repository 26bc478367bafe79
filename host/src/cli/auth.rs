//! `keyway auth`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{client::Client, failure::Failure, kv::encode};
use keyway_terminal::output::{Format, print, table};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the methods by which tokens are given out.
    List,
    /// Enable a method.
    Enable {
        /// Its type, such as approle.
        kind: String,
        /// Where; without it, under its type.
        #[arg(long)]
        path: Option<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Disable a method. Its roles are gone, and the tokens that it gave out are dead.
    Disable {
        /// Where it is.
        path: String,
        /// Do it without asking twice: the path again.
        #[arg(long, value_name = "PATH")]
        confirm: String,
    },
    /// Change how long the tokens of a method live.
    Tune {
        /// Where it is.
        path: String,
        /// How long they live unless something else is asked for, such as 1h.
        #[arg(long, required_unless_present = "max_ttl")]
        default_ttl: Option<String>,
        /// How long they live at most.
        #[arg(long)]
        max_ttl: Option<String>,
    },
}

pub(super) fn run(client: &Client, command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::List => {
            let methods = client.get("sys/auth")?.success("list the auth methods")?.json()?["data"].clone();
            print(format, &methods, || {
                let text = |method: &Value, name: &str| method[name].as_str().unwrap_or_default().to_owned();
                let heading = ["Path", "Type", "Accessor", "Description"].map(str::to_owned).to_vec();
                let rows = methods.as_object().into_iter().flatten().map(|(path, method)| {
                    vec![
                        path.clone(),
                        text(method, "type"),
                        text(method, "accessor"),
                        text(method, "description"),
                    ]
                });
                table(&[heading].into_iter().chain(rows).collect::<Vec<_>>())
            })
        }
        Command::Enable { kind, path, description } => {
            let path = path.unwrap_or_else(|| kind.clone());
            let body = json!({ "type": kind, "description": description }).to_string();
            client.post(&url(&path), &body)?.success(&format!("enable the auth method {path}"))?;
            print(format, &json!({ "path": path, "enabled": true }), || {
                format!("The auth method {path} is enabled.\n")
            })
        }
        Command::Disable { path, confirm } => {
            if path.trim_matches('/') != confirm.trim_matches('/') {
                let message = format!("--confirm says {confirm:?}, and not {path:?}; nothing was disabled");
                return Err(Failure::Usage(message));
            }
            client.delete(&url(&path))?.success(&format!("disable the auth method {path}"))?;
            print(format, &json!({ "path": path, "enabled": false }), || {
                format!("The auth method {path} is disabled, and the tokens that it gave out are dead.\n")
            })
        }
        Command::Tune { path, default_ttl, max_ttl } => {
            let given = [("default_lease_ttl", default_ttl), ("max_lease_ttl", max_ttl)];
            let body: Map<String, Value> = given
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
                .collect();
            let body = Value::from(body).to_string();
            let tuned = client.post(&format!("{}/tune", url(&path)), &body)?;
            tuned.success(&format!("tune the auth method {path}"))?;
            print(format, &json!({ "path": path, "tuned": true }), || {
                format!("The auth method {path} is tuned.\n")
            })
        }
    }
}

fn url(path: &str) -> String {
    format!("sys/auth/{}", encode(path.trim_matches('/')))
}
