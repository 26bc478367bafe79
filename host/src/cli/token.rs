//! `keyway token`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{client::Client, failure::Failure, kv::encode, prompt};
use keyway_terminal::output::{Format, alone_end, cell, pairs, print, print_once, table};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token, a child of the one that is shown.
    Create(Box<Create>),
    /// Look up a token; without one, the token that the command shows.
    Lookup {
        #[command(flatten)]
        which: Which,
    },
    /// Prolong the life of a token; without one, of the one that is shown.
    Renew {
        #[command(flatten)]
        which: Which,
        /// By how long, such as 30m.
        #[arg(long)]
        increment: Option<String>,
    },
    /// End a token with all its children.
    Revoke {
        #[command(flatten)]
        which: Which,
        /// End the token that is shown.
        #[arg(long = "self", conflicts_with_all = ["ask", "accessor"])]
        own: bool,
        /// Let its children live on, without a parent.
        #[arg(long, conflicts_with_all = ["accessor", "own"])]
        orphan: bool,
    },
    /// Say what the token that is shown may do with paths.
    Capabilities {
        /// Paths of the API, such as secret/data/app.
        #[arg(required = true)]
        paths: Vec<String>,
    },
    /// List the accessors of all tokens.
    Accessors,
}

/// Which token.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Ask for the token, or read it from standard input: words of a command can be seen by others.
    #[arg(long, conflicts_with = "accessor")]
    ask: bool,
    /// The accessor of the token.
    #[arg(long)]
    accessor: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// A policy of the token. May be repeated; without any, those of its parent.
    #[arg(long = "policy", value_name = "NAME")]
    policies: Vec<String>,
    /// How long it lives, such as 24h.
    #[arg(long)]
    ttl: Option<String>,
    /// Each renewal prolongs its life to so long, for ever.
    #[arg(long)]
    period: Option<String>,
    /// It dies so long after it was made, however often it is renewed.
    #[arg(long)]
    explicit_max_ttl: Option<String>,
    /// How often it can be used.
    #[arg(long, value_name = "NUMBER")]
    uses: Option<u64>,
    /// What it is called in logs.
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// The role that it is made by.
    #[arg(long)]
    role: Option<String>,
    /// Without a parent: it does not end with the one that is shown.
    #[arg(long)]
    orphan: bool,
    /// Without the policy `default`.
    #[arg(long)]
    no_default_policy: bool,
    /// Its life cannot be prolonged.
    #[arg(long)]
    not_renewable: bool,
    /// Metadata of the token, as NAME=VALUE. May be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    meta: Vec<String>,
    /// Print the token alone, and nothing else.
    #[arg(long)]
    only_token: bool,
}

pub(super) fn run(client: &Client, command: Command, format: Format) -> Result<(), Failure> {
    match command {
        Command::Create(create) => make(client, &create, format),
        Command::Lookup { which } => {
            let answer = match which.body(Map::new())? {
                Some((path, body)) => client.post(&format!("auth/token/lookup{path}"), &body)?,
                None => client.get("auth/token/lookup-self")?,
            };
            let data = answer.success("look the token up")?.json()?["data"].clone();
            print(format, &data, || fields(&data))
        }
        Command::Renew { which, increment } => {
            let increment = increment.map(|increment| ("increment".to_owned(), increment.into()));
            let more: Map<String, Value> = increment.into_iter().collect();
            let (path, body) = match which.body(more.clone())? {
                Some((path, body)) => (format!("auth/token/renew{path}"), body),
                None => ("auth/token/renew-self".to_owned(), Zeroizing::new(Value::from(more).to_string())),
            };
            let auth = client.post(&path, &body)?.success("renew the token")?.json()?["auth"].clone();
            let seconds = auth["lease_duration"].clone();
            print(format, &json!({ "lease_duration": seconds }), || format!("It lives for {seconds} s.\n"))
        }
        Command::Revoke { which, own, orphan } => {
            let (path, body) = match which.body(Map::new())? {
                _ if own => ("auth/token/revoke-self".to_owned(), Zeroizing::new("{}".to_owned())),
                Some((path, body)) if orphan => (format!("auth/token/revoke-orphan{path}"), body),
                Some((path, body)) => (format!("auth/token/revoke{path}"), body),
                None => {
                    return Err(Failure::Usage("say which token: --ask, --accessor or --self".to_owned()));
                }
            };
            client.post(&path, &body)?.success("revoke the token")?;
            print(format, &json!({ "revoked": true }), || "The token is dead.\n".to_owned())
        }
        Command::Capabilities { paths } => {
            let body = json!({ "paths": paths }).to_string();
            let answer = client.post("sys/capabilities-self", &body)?.success("ask for capabilities")?;
            let data = answer.json()?["data"].clone();
            let told: Map<String, Value> =
                paths.iter().map(|path| (path.clone(), data[path.as_str()].clone())).collect();
            print(format, &told, || {
                let row = |(path, may): (&String, &Value)| {
                    let may = may.as_array().into_iter().flatten().filter_map(Value::as_str);
                    vec![path.clone(), may.collect::<Vec<_>>().join(", ")]
                };
                let heading = vec!["Path".to_owned(), "Capabilities".to_owned()];
                table(&[heading].into_iter().chain(told.iter().map(row)).collect::<Vec<_>>())
            })
        }
        Command::Accessors => {
            let answer = client.get("auth/token/accessors?list=true")?.success("list the accessors")?;
            let accessors = answer.json()?["data"]["keys"].clone();
            print(format, &accessors, || {
                let accessors = accessors.as_array().into_iter().flatten();
                accessors.filter_map(|accessor| Some(cell(accessor.as_str()?) + "\n")).collect()
            })
        }
    }
}

impl Which {
    /// The end of the path and the body that name the token; none if it is the one that is shown.
    fn body(
        &self,
        mut more: Map<String, Value>,
    ) -> Result<Option<(&'static str, Zeroizing<String>)>, Failure> {
        let path = match &self.accessor {
            Some(accessor) => {
                more.insert("accessor".to_owned(), accessor.as_str().into());
                "-accessor"
            }
            None if self.ask => {
                let token = prompt::secret("Token: ")?;
                if token.trim().is_empty() {
                    return Err(Failure::Usage("no token was given".to_owned()));
                }
                more.insert("token".to_owned(), token.trim().into());
                ""
            }
            None => return Ok(None),
        };
        Ok(Some((path, Zeroizing::new(Value::from(more).to_string()))))
    }
}

fn make(client: &Client, create: &Create, format: Format) -> Result<(), Failure> {
    let mut body = Map::new();
    let mut say = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    say("policies", (!create.policies.is_empty()).then(|| create.policies.clone().into()));
    say("ttl", create.ttl.clone().map(Value::from));
    say("period", create.period.clone().map(Value::from));
    say("explicit_max_ttl", create.explicit_max_ttl.clone().map(Value::from));
    say("num_uses", create.uses.map(Value::from));
    say("display_name", create.display_name.clone().map(Value::from));
    say("no_default_policy", create.no_default_policy.then_some(Value::from(true)));
    say("renewable", create.not_renewable.then_some(Value::from(false)));
    let mut meta = Map::new();
    for pair in &create.meta {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("{pair:?} is no metadata; write NAME=VALUE")))?;
        meta.insert(name.to_owned(), value.into());
    }
    say("meta", (!meta.is_empty()).then(|| meta.into()));
    let path = match (&create.role, create.orphan) {
        (Some(_), true) => {
            return Err(Failure::Usage(
                "whether it is an orphan, its role says; leave --orphan out".to_owned(),
            ));
        }
        (Some(role), false) => format!("auth/token/create/{}", encode(role)),
        (None, true) => "auth/token/create-orphan".to_owned(),
        (None, false) => "auth/token/create".to_owned(),
    };
    let made = client.post(&path, &Value::from(body).to_string())?.success("make a token")?.json()?;
    let auth = &made["auth"];
    let text = |name: &str| auth[name].as_str().unwrap_or_default().to_owned();
    let told = json!({
        "token": auth["client_token"],
        "accessor": auth["accessor"],
        "policies": auth["policies"],
        "lease_duration": auth["lease_duration"],
        "renewable": auth["renewable"],
        "warnings": made["warnings"],
    });
    print_once(format, &told, || {
        if create.only_token {
            return text("client_token") + alone_end();
        }
        let policies = auth["policies"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut rows = vec![
            ("Token", text("client_token")),
            ("Accessor", text("accessor")),
            ("Policies", policies.collect::<Vec<_>>().join(", ")),
            ("Lives for", life(&auth["lease_duration"])),
        ];
        let warnings = made["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
        rows.extend(warnings.map(|warning| ("Warning", warning.to_owned())));
        pairs(&rows)
    })
}

fn life(seconds: &Value) -> String {
    match seconds.as_u64() {
        None | Some(0) => "ever".to_owned(),
        Some(seconds) => format!("{seconds} s"),
    }
}

/// Names and values, one pair a line.
fn fields(data: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let rows: Vec<(&str, String)> =
        data.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), text(value))).collect();
    pairs(&rows)
}
