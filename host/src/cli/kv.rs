//! `keyway kv`: each command is a module.

mod diff;
mod dotenv;
mod enable_versioning;
mod export;
mod fields;
mod get;
mod import;
mod list;
mod metadata;
mod path;
mod put;
mod versions;

use std::path::PathBuf;

use clap::Subcommand;
use keyway_terminal::output::Format;

pub(super) use self::path::encode;
use super::{client::Client, failure::Failure};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a new version of a secret: `kv put secret/app/db user=x password=-`.
    Put {
        /// The secret, with its mount.
        path: String,
        /// Fields as NAME=VALUE; a value @FILE is read from a file, - from standard input (not echoed), and
        /// \@ and \- stand for themselves. Or one argument: @FILE or - for a JSON object.
        #[arg(required = true)]
        fields: Vec<String>,
        /// Only if this is the current version; 0: only if there is none.
        #[arg(long)]
        cas: Option<u64>,
    },
    /// Change some fields of a secret, and leave the others as they are.
    Patch {
        /// The secret, with its mount.
        path: String,
        /// Fields as for put.
        #[arg(required_unless_present = "remove")]
        fields: Vec<String>,
        /// A field to take out. May be repeated.
        #[arg(long, value_name = "NAME")]
        remove: Vec<String>,
        /// Only if this is the current version.
        #[arg(long)]
        cas: Option<u64>,
    },
    /// Read a secret.
    Get {
        /// The secret, with its mount.
        path: String,
        /// An older version.
        #[arg(long)]
        version: Option<u64>,
        /// Print this field alone, and nothing else.
        #[arg(long)]
        field: Option<String>,
    },
    /// List the names in a folder; those of folders end with a slash.
    List {
        /// The folder, with its mount.
        path: String,
    },
    /// Mark versions of a secret as deleted; they can be undeleted.
    Delete {
        /// The secret, with its mount.
        path: String,
        /// Versions, parted by commas; without them the current one.
        #[arg(long, value_delimiter = ',')]
        versions: Vec<u64>,
    },
    /// Make deleted versions readable again.
    Undelete {
        /// The secret, with its mount.
        path: String,
        /// Versions, parted by commas.
        #[arg(long, value_delimiter = ',', required = true)]
        versions: Vec<u64>,
    },
    /// Remove the values of versions for good.
    Destroy {
        /// The secret, with its mount.
        path: String,
        /// Versions, parted by commas.
        #[arg(long, value_delimiter = ',', required = true)]
        versions: Vec<u64>,
    },
    /// Look at the metadata of a secret, change it, or remove the secret with all its versions.
    Metadata {
        #[command(subcommand)]
        command: metadata::Command,
    },
    /// Say what differs between two versions of a secret.
    Diff {
        /// The secret, with its mount.
        path: String,
        /// The older version; without it the one before the newer.
        #[arg(long)]
        from: Option<u64>,
        /// The newer version; without it the current one.
        #[arg(long)]
        to: Option<u64>,
        /// Show values too.
        #[arg(long)]
        values: bool,
    },
    /// Import a file: a .env becomes one secret, a JSON object of objects becomes many.
    Import {
        /// A .env or a .json file.
        file: PathBuf,
        /// The secret, or the folder of the secrets, with its mount.
        path: String,
        /// One secret for each variable of a .env, with its value in the field "value".
        #[arg(long)]
        each: bool,
    },
    /// Upgrade a version 1 mount to version 2: its secrets become versions, in the background.
    EnableVersioning {
        /// The mount.
        path: String,
    },
    /// Export the current versions of all secrets in a folder as JSON, which import takes back.
    Export {
        /// The folder, with its mount.
        path: String,
        /// Write to this file, which only its owner may read, instead of to standard output.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
}

pub(super) fn run(client: &Client, command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::Put { path, fields, cas } => put::put(client, &path, &fields, cas, format),
        Command::Patch { path, fields, remove, cas } => {
            put::patch(client, &path, &fields, &remove, cas, format)
        }
        Command::Get { path, version, field } => get::run(client, &path, version, field.as_deref(), format),
        Command::List { path } => list::run(client, &path, format),
        Command::Delete { path, versions } => versions::delete(client, &path, &versions, format),
        Command::Undelete { path, versions } => versions::undelete(client, &path, &versions, format),
        Command::Destroy { path, versions } => versions::destroy(client, &path, &versions, format),
        Command::Metadata { command } => metadata::run(client, command, format),
        Command::Diff { path, from, to, values } => diff::run(client, &path, from, to, values, format),
        Command::Import { file, path, each } => import::run(client, &file, &path, each, format),
        Command::EnableVersioning { path } => enable_versioning::run(client, &path, format),
        Command::Export { path, output } => export::run(client, &path, output.as_deref(), format),
    }
}
