//! `keyway login` and `logout`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use clap::ValueEnum;
use serde_json::json;
use zeroize::Zeroizing;

use super::{client::Client, failure::Failure, kept, kv::encode, prompt};
use keyway_terminal::output::{Format, alone_end, print};

/// How a user logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Method {
    /// By a token.
    Token,
    /// By a role id and a secret id.
    Approle,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Login {
    /// How to say who you are.
    #[arg(long, value_enum, default_value_t = Method::Token)]
    method: Method,
    /// Where the method is mounted; without it, under its own name.
    #[arg(long)]
    path: Option<String>,
    /// The role id; only for approle. The secret id is asked for, or read from standard input.
    #[arg(long)]
    role_id: Option<String>,
    /// Print the token instead of keeping it for later commands.
    #[arg(long)]
    print: bool,
}

/// Finds out whose token it is, and keeps it for this server's address.
pub(super) fn login(client: &mut Client, login: Login, format: Format) -> Result<(), Failure> {
    let token = match login.method {
        Method::Token => Zeroizing::new(prompt::secret("Token: ")?.trim().to_owned()),
        Method::Approle => by_approle(client, &login)?,
    };
    if token.is_empty() {
        return Err(Failure::Usage("no token was given".to_owned()));
    }
    client.show(token.clone())?;
    let found = client.get("auth/token/lookup-self")?.success("log in")?.json()?["data"].clone();
    if login.print {
        return print(format, &json!({ "token": token.as_str() }), || {
            format!("{}{}", token.as_str(), alone_end())
        });
    }
    let file = kept::keep(client.address(), &token)?;
    let told = json!({ "accessor": found["accessor"], "policies": found["policies"], "ttl": found["ttl"] });
    print(format, &told, || {
        let policies: Vec<&str> =
            found["policies"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
        let life = match found["ttl"].as_u64() {
            None | Some(0) => "for ever".to_owned(),
            Some(seconds) => format!("for {seconds} s"),
        };
        format!(
            "Logged in at {} with the policies {}, {life}.\nThe token is kept in {}.\n",
            client.address(),
            policies.join(", "),
            file.display()
        )
    })
}

fn by_approle(client: &Client, login: &Login) -> Result<Zeroizing<String>, Failure> {
    let role_id = login.role_id.as_deref();
    let role_id = role_id.ok_or_else(|| Failure::Usage("--method approle needs --role-id".to_owned()))?;
    let secret_id = prompt::secret("Secret id: ")?;
    let body = Zeroizing::new(json!({ "role_id": role_id, "secret_id": secret_id.trim() }).to_string());
    let path = login.path.as_deref().unwrap_or("approle").trim_matches('/');
    let answer = client.post(&format!("auth/{}/login", encode(path)), &body)?.success("log in")?.json()?;
    Ok(Zeroizing::new(answer["auth"]["client_token"].as_str().unwrap_or_default().to_owned()))
}

/// Forgets the token of this server's address. The token itself lives on; `keyway token revoke` ends it.
pub(super) fn logout(client: &Client, format: Format) -> Result<(), Failure> {
    let was_there = kept::forget(client.address())?;
    print(format, &json!({ "forgotten": was_there }), || {
        if was_there { "The token is forgotten.\n" } else { "No token was kept.\n" }.to_owned()
    })
}
