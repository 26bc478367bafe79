//! `keyway audit`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use std::{
    fs::File,
    io::{self, BufReader},
    path::PathBuf,
};

use clap::Subcommand;
use keyway_core::audit::verify::{Verified, Verifier, VerifyError};
use serde_json::{Map, Value, json};

use super::{client::Client, connection::Server, failure::Failure, kv::encode, prompt};
use keyway_terminal::output::{Format, alone_end, pairs, print, table};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the audit devices, and whether they can write.
    List {
        #[command(flatten)]
        server: Server,
    },
    /// Add a device, if the server's configuration allows it.
    Enable {
        #[command(flatten)]
        server: Server,
        /// file or socket.
        kind: String,
        /// Its options, such as file_path=/var/log/keyway/audit.log, or address=127.0.0.1:9000.
        #[arg(value_name = "NAME=VALUE")]
        options: Vec<String>,
        /// What it is called; without it, its type.
        #[arg(long)]
        name: Option<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Remove a device that was added.
    Disable {
        #[command(flatten)]
        server: Server,
        /// What it is called.
        name: String,
    },
    /// Say which hash a text has in the lines of a device.
    Hash {
        #[command(flatten)]
        server: Server,
        /// What the device is called.
        name: String,
        /// The text; read from standard input if it is not given, which keeps it out of the list of processes.
        text: Option<String>,
    },
    /// Follow the chain through the files of one device: whether lines were changed, removed or put in
    /// between. Needs no server.
    Verify {
        /// The files, the oldest first; - is standard input.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The hash of the last line, as `keyway audit list` or an earlier run has printed it.
        #[arg(long, value_name = "HASH")]
        last: Option<String>,
        /// How many breaks of the chain are accepted. A server that starts without its former file begins a
        /// new chain.
        #[arg(long, alias = "anew", value_name = "NUMBER", default_value_t = 0)]
        breaks: usize,
    },
}

pub(super) fn run(command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::List { server } => list(&Client::new(server)?, format),
        Command::Enable { server, kind, options, name, description } => {
            let name = name.unwrap_or_else(|| kind.clone());
            let mut given = Map::new();
            for option in &options {
                let (key, value) = option
                    .split_once('=')
                    .ok_or_else(|| Failure::Usage(format!("{option:?} is no option; write NAME=VALUE")))?;
                given.insert(key.to_owned(), value.into());
            }
            let body = json!({ "type": kind, "description": description, "options": given }).to_string();
            let client = Client::new(server)?;
            client.post(&url(&name), &body)?.success(&format!("add the audit device {name}"))?;
            print(format, &json!({ "name": name, "enabled": true }), || {
                format!("Each request is written to the audit device {name} from now on.\n")
            })
        }
        Command::Disable { server, name } => {
            let client = Client::new(server)?;
            client.delete(&url(&name))?.success(&format!("remove the audit device {name}"))?;
            print(format, &json!({ "name": name, "enabled": false }), || {
                format!("Nothing more is written to the audit device {name}.\n")
            })
        }
        Command::Hash { server, name, text } => {
            let text = text.map_or_else(|| prompt::secret("Text: "), |text| Ok(text.into()))?;
            let body = json!({ "input": text.trim_end_matches(['\r', '\n']) }).to_string();
            let path = format!("sys/audit-hash/{}", encode(name.trim_matches('/')));
            let answer = Client::new(server)?.post(&path, &body)?.success("hash")?.json()?;
            let hash = answer["data"]["hash"].as_str().unwrap_or_default().to_owned();
            print(format, &json!({ "hash": hash }), || format!("{hash}{}", alone_end()))
        }
        Command::Verify { files, last, breaks } => verify(&files, last.as_deref(), breaks, format),
    }
}

fn url(name: &str) -> String {
    format!("sys/audit/{}", encode(name.trim_matches('/')))
}

fn list(client: &Client, format: Format) -> Result<(), Failure> {
    let devices = client.get("sys/audit")?.success("list the audit devices")?.json()?["data"].clone();
    print(format, &devices, || {
        let mut rows =
            vec![["Device", "Type", "Writes to", "State", "Lines", "Last hash"].map(str::to_owned).to_vec()];
        for (path, device) in devices.as_object().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let options = &device["options"];
            let target = if options["address"].is_null() {
                text(&options["file_path"])
            } else {
                text(&options["address"])
            };
            let state = if device["is_up"] == true { "up" } else { "DOWN" };
            rows.push(vec![
                path.clone(),
                text(&device["type"]),
                target,
                state.to_owned(),
                device["line"].to_string(),
                text(&device["hash"]),
            ]);
        }
        table(&rows)
    })
}

fn verify(files: &[PathBuf], last: Option<&str>, breaks: usize, format: Format) -> Result<(), Failure> {
    let mut verifier = Verifier::default();
    for path in files {
        let name = path.display().to_string();
        if name == "-" {
            verifier.read("standard input", io::stdin().lock()).map_err(failure)?;
        } else {
            let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
            verifier.read(&name, BufReader::new(file)).map_err(failure)?;
        }
    }
    let verified = verifier.end().map_err(failure)?;
    print(format, &as_json(&verified), || describe(&verified))?;
    if let Some(place) = verified.beginnings.get(breaks) {
        return Err(Failure::Refused(format!(
            "a chain begins again in {}, line {}, and whether lines are missing before it cannot be known; --breaks {} accepts it",
            place.file,
            place.line,
            verified.beginnings.len()
        )));
    }
    match last.map(str::trim) {
        Some(last) if last != verified.end.hash => Err(Failure::Refused(format!(
            "the last line has the hash {}, and not {last}: lines are missing at the end, or all were written again",
            verified.end.hash
        ))),
        _ => Ok(()),
    }
}

fn failure(error: VerifyError) -> Failure {
    let message = keyway_loader::Chain(&error).to_string();
    match error {
        VerifyError::Read { .. } => Failure::Other(message),
        VerifyError::Broken { .. } | VerifyError::Empty => {
            Failure::Refused(format!("the audit log does not verify: {message}"))
        }
    }
}

fn as_json(verified: &Verified) -> Value {
    let beginnings: Vec<Value> =
        verified.beginnings.iter().map(|place| json!({ "file": place.file, "line": place.line })).collect();
    json!({
        "lines": verified.lines,
        "torn": verified.torn,
        "missed": verified.missed,
        "beginnings": beginnings,
        "follows": verified.follows.as_ref().map(|chain| json!({ "line": chain.line, "hash": chain.hash })),
        "last": { "line": verified.end.line, "hash": verified.end.hash },
    })
}

fn describe(verified: &Verified) -> String {
    let mut rows = vec![("Verified", format!("{} lines", verified.lines))];
    if let Some(before) = &verified.follows {
        rows.push(("Begins", format!("after line {}, whose hash is {}", before.line, before.hash)));
    }
    for place in &verified.beginnings {
        rows.push(("A chain begins again", format!("{}, line {}", place.file, place.line)));
    }
    if verified.torn > 0 {
        rows.push(("Pieces of lines", format!("{}, left by a crash or a full disk", verified.torn)));
    }
    if verified.missed > 0 {
        rows.push(("Missed", format!("{} lines could not be written to this device", verified.missed)));
    }
    rows.push(("Last line", format!("{}, whose hash is {}", verified.end.line, verified.end.hash)));
    pairs(&rows)
}
