//! `keyway policy`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
};

use clap::Subcommand;
use serde_json::json;

use super::{client::Client, failure::Failure, kv::encode};
use keyway_terminal::output::{Format, cell, print};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the policies.
    List,
    /// Print a policy as it was written.
    Read {
        /// Its name.
        name: String,
    },
    /// Write a policy, in the place of what was there.
    Write {
        /// Its name.
        name: String,
        /// The file with its rules, in HCL or JSON; - is standard input.
        file: PathBuf,
    },
    /// Remove a policy. Tokens that have it keep its name, which allows nothing any more.
    Delete {
        /// Its name.
        name: String,
    },
}

pub(super) fn run(client: &Client, command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::List => {
            let answer = client.get("sys/policies/acl?list=true")?.success("list the policies")?.json()?;
            let names = answer["data"]["keys"].clone();
            print(format, &names, || {
                let names = names.as_array().into_iter().flatten();
                names.filter_map(|name| Some(cell(name.as_str()?) + "\n")).collect()
            })
        }
        Command::Read { name } => {
            let answer = client.get(&url(&name))?.success(&format!("read the policy {name}"))?.json()?;
            let rules = answer["data"]["policy"].as_str().unwrap_or_default();
            print(format, &json!({ "name": name, "policy": rules }), || {
                let end = if rules.ends_with('\n') { "" } else { "\n" };
                format!("{rules}{end}")
            })
        }
        Command::Write { name, file } => {
            let rules = if file.as_os_str() == "-" {
                let mut text = String::new();
                let read = io::stdin().lock().read_to_string(&mut text);
                read.map_err(|error| Failure::Other(format!("read from standard input: {error}")))?;
                text
            } else {
                fs::read_to_string(&file).map_err(|error| Failure::file("read", &file, &error))?
            };
            let body = json!({ "policy": rules }).to_string();
            client.post(&url(&name), &body)?.success(&format!("write the policy {name}"))?;
            print(format, &json!({ "name": name, "written": true }), || {
                format!("The policy {name} is in force.\n")
            })
        }
        Command::Delete { name } => {
            client.delete(&url(&name))?.success(&format!("remove the policy {name}"))?;
            print(format, &json!({ "name": name, "deleted": true }), || {
                format!("The policy {name} is gone.\n")
            })
        }
    }
}

fn url(name: &str) -> String {
    format!("sys/policies/acl/{}", encode(name))
}
