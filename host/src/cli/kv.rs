//! `keyway kv`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    client::Client,
    failure::Failure,
    import,
    output::{Format, pairs, print, say, table},
};
use crate::json;

/// The fields of a secret, each value to the letter.
pub(super) type Fields = json::Fields<Box<RawValue>>;

/// What is encoded in a path besides slashes: RFC 3986's characters that no segment may hold, and the percent sign.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a new version of a secret: `kv put secret/app/db user=x password=@file`.
    Put {
        /// The secret, with its mount.
        path: String,
        /// Fields as NAME=VALUE; a value @FILE is read from a file, and \@ stands for a plain @. Or one argument: @FILE or - for a JSON object.
        #[arg(required = true)]
        fields: Vec<String>,
        /// Only if this is the current version; 0: only if there is none.
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
    /// List the names in a folder.
    List {
        /// The folder, with its mount.
        path: String,
    },
    /// Mark the current version of a secret as deleted.
    Delete {
        /// The secret, with its mount.
        path: String,
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
}

/// A path with its mount taken off.
#[derive(Clone)]
pub(super) struct Located {
    mount: String,
    rest: String,
}

pub(super) fn run(client: &Client, command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::Put { path, fields, cas } => put(client, &path, &fields, cas, format),
        Command::Get { path, version, field } => get(client, &path, version, field.as_deref(), format),
        Command::List { path } => list(client, &path, format),
        Command::Delete { path } => delete(client, &path, format),
        Command::Import { file, path, each } => import::run(client, &file, &path, each, format),
    }
}

fn put(
    client: &Client,
    path: &str,
    fields: &[String],
    cas: Option<u64>,
    format: Format,
) -> Result<(), Failure> {
    let fields = parse_fields(fields)?;
    let version = write(client, &locate(client, path)?, path, &fields, cas)?;
    print(format, &json!({ "path": path, "version": version }), || {
        format!("{path} is at version {version}.\n")
    });
    Ok(())
}

/// Writes a secret, and answers its new version.
pub(super) fn write(
    client: &Client,
    located: &Located,
    path: &str,
    fields: &Fields,
    cas: Option<u64>,
) -> Result<u64, Failure> {
    let data = serde_json::to_string(fields).expect("fields are plain data");
    let options = cas.map(|cas| format!(r#","options":{{"cas":{cas}}}"#)).unwrap_or_default();
    let body = format!(r#"{{"data":{data}{options}}}"#);
    let answer = client.post(&located.url("data"), &body)?.success(&format!("write {path}"))?.json()?;
    answer["data"]["version"]
        .as_u64()
        .ok_or_else(|| Failure::Other(format!("write {path}: the server did not answer with a version")))
}

#[derive(Deserialize)]
struct Body {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    data: Option<Fields>,
    metadata: serde_json::Value,
}

fn get(
    client: &Client,
    path: &str,
    version: Option<u64>,
    field: Option<&str>,
    format: Format,
) -> Result<(), Failure> {
    let mut url = locate(client, path)?.url("data");
    if let Some(version) = version {
        url.push_str(&format!("?version={version}"));
    }
    let doing = format!("read {path}");
    let answer = client.get(&url)?;
    let parsed: Option<Body> = serde_json::from_str(answer.text()).ok();
    if answer.status == 404 && parsed.is_some_and(|body| body.data.data.is_none()) {
        return Err(Failure::NotFound(format!("{doing}: this version is deleted")));
    }
    let answer = answer.success(&doing)?;
    let body: Body = serde_json::from_str(answer.text())
        .map_err(|error| Failure::Other(format!("{doing}: the answer is not understood: {error}")))?;
    let fields = body.data.data.unwrap_or(json::Fields(Vec::new()));
    if let Some(name) = field {
        let Some((_, value)) = fields.0.iter().find(|(known, _)| known == name) else {
            return Err(Failure::NotFound(format!("{doing}: there is no field {name:?}")));
        };
        say(&format!("{}\n", plain(value)));
        return Ok(());
    }
    let metadata = &body.data.metadata;
    match format {
        // To the letter: through a Value, long numbers would be rounded.
        Format::Json => {
            let data = serde_json::to_string(&fields).expect("fields are plain data");
            say(&format!("{{\"data\":{data},\"metadata\":{metadata}}}\n"));
        }
        Format::Table => {
            let number = metadata["version"].to_string();
            let created = metadata["created_time"].as_str().unwrap_or_default().to_owned();
            let mut rows = vec![vec!["Field".to_owned(), "Value".to_owned()]];
            rows.extend(fields.0.iter().map(|(name, value)| vec![name.clone(), plain(value)]));
            say(&format!("{}\n{}", pairs(&[("Version", number), ("Created", created)]), table(&rows)));
        }
    }
    Ok(())
}

fn list(client: &Client, path: &str, format: Format) -> Result<(), Failure> {
    let url = format!("{}?list=true", locate(client, path)?.url("metadata"));
    let answer = client.get(&url)?.success(&format!("list {path}"))?.json()?;
    let names: Vec<String> = serde_json::from_value(answer["data"]["keys"].clone())
        .map_err(|_| Failure::Other(format!("list {path}: the server did not answer with names")))?;
    print(format, &names, || names.iter().map(|name| format!("{name}\n")).collect());
    Ok(())
}

fn delete(client: &Client, path: &str, format: Format) -> Result<(), Failure> {
    client.delete(&locate(client, path)?.url("data"))?.success(&format!("delete {path}"))?;
    print(format, &json!({ "path": path, "deleted": true }), || {
        format!("The current version of {path} is deleted.\n")
    });
    Ok(())
}

/// Asks the server which part of a path is the mount.
pub(super) fn locate(client: &Client, path: &str) -> Result<Located, Failure> {
    let path = path.trim_matches('/');
    if path.is_empty() {
        return Err(Failure::Usage("the path is empty; write MOUNT/NAME, such as secret/app/db".to_owned()));
    }
    let url = format!("sys/internal/ui/mounts/{}", encode(path));
    let answer = client.get(&url)?.success(&format!("find the mount of {path}"))?.json()?;
    let mount = answer["data"]["path"].as_str().unwrap_or_default().trim_end_matches('/').to_owned();
    let rest = path.strip_prefix(&mount).unwrap_or(path).trim_start_matches('/').to_owned();
    Ok(Located { mount, rest })
}

impl Located {
    /// The URL's path under `part` of the mount.
    fn url(&self, part: &str) -> String {
        format!("{}/{part}/{}", encode(&self.mount), encode(&self.rest))
    }

    /// A secret in this folder.
    pub(super) fn child(&self, name: &str) -> Self {
        let rest = if self.rest.is_empty() { name.to_owned() } else { format!("{}/{name}", self.rest) };
        Self { mount: self.mount.clone(), rest }
    }

    /// The path without its mount.
    pub(super) fn rest(&self) -> &str {
        &self.rest
    }

    /// The path with its mount.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.mount, self.rest)
    }
}

fn encode(path: &str) -> String {
    utf8_percent_encode(path, SEGMENT).to_string()
}

/// A text without its quotes, anything else as JSON.
fn plain(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

fn parse_fields(arguments: &[String]) -> Result<Fields, Failure> {
    if let [only] = arguments
        && (only == "-" || only.starts_with('@'))
    {
        let text = read_argument(only)?;
        return serde_json::from_str(&text)
            .map_err(|error| Failure::Usage(format!("{only} is no JSON object ({})", place(&error))));
    }
    let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        // The texts show no more than names: the rest of an argument may be a password.
        let Some((name, value)) = argument.split_once('=') else {
            return Err(Failure::Usage(format!("field {} is not NAME=VALUE", index + 1)));
        };
        if name.is_empty() || fields.iter().any(|(known, _)| known == name) {
            return Err(Failure::Usage(format!(
                "field {}: the name {name:?} is empty or stands there twice",
                index + 1
            )));
        }
        let value = match value.strip_prefix('\\').filter(|rest| rest.starts_with('@')) {
            Some(escaped) => escaped.to_owned(),
            None if value.starts_with('@') => read_argument(value).map_err(|_| {
                Failure::NotFound(format!(
                    "the file for field {name:?} cannot be read; a value that begins with @ is written as \\@"
                ))
            })?,
            None => value.to_owned(),
        };
        fields.push((name.to_owned(), text_value(&value)));
    }
    Ok(json::Fields(fields))
}

/// Where JSON is wrong, without serde_json's text, which quotes what it does not like.
pub(super) fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// A text as a JSON value.
pub(super) fn text_value(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a text is JSON")
}

/// `-` is standard input, `@FILE` a file; as it is, without a newline at the end being taken off.
fn read_argument(argument: &str) -> Result<String, Failure> {
    if argument == "-" {
        let mut text = String::new();
        let read = io::stdin().read_to_string(&mut text);
        return read.map(|_| text).map_err(|error| Failure::Other(format!("read standard input: {error}")));
    }
    let path = Path::new(argument.strip_prefix('@').unwrap_or(argument));
    fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))
}
