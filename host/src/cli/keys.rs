//! `keyway rotate`, `rekey`, `password` and `operator generate-root`: commands for the keys.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use clap::Subcommand;
use data_encoding::BASE64_NOPAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{client::Client, connection::Server, failure::Failure, operator::read_share, prompt};
use keyway_terminal::output::{Format, alone_end, pairs, print, print_once};

#[derive(Debug, Subcommand)]
pub(super) enum Rotate {
    /// Say which key seals, since when, and how far a re-encryption is.
    Status,
    /// Seal old records again in the background, with the newest key.
    Reencrypt,
    /// End the re-encryption that is under way; what it has done stays done.
    Cancel,
}

#[derive(Debug, Subcommand)]
pub(super) enum Rekey {
    /// Begin: other shares are to be made, in the place of the present ones.
    Init {
        /// How many shares to make.
        #[arg(long, default_value_t = 5)]
        shares: u64,
        /// How many of them unseal.
        #[arg(long, default_value_t = 3)]
        threshold: u64,
        /// The new shares count at once, even if their holders have not received them. Needs a token with
        /// sudo.
        #[arg(long)]
        no_verification: bool,
    },
    /// Say how far it is.
    Status,
    /// Give one of the present shares; it is asked for, or read from standard input. The last one prints the
    /// new shares.
    Update {
        /// The name of the attempt; without it, the one that is under way.
        #[arg(long)]
        nonce: Option<String>,
    },
    /// Give back one of the new shares. Once enough are back, the former ones are dead.
    Verify {
        /// The name of the verification; without it, the one that is under way.
        #[arg(long)]
        nonce: Option<String>,
    },
    /// Give up; the present shares stay.
    Cancel,
}

#[derive(Debug, Subcommand)]
pub(super) enum Password {
    /// Say whether a password unseals.
    Status,
    /// Set the password; it is asked for twice, or read from standard input.
    Set,
    /// Take the password away.
    Remove,
}

#[derive(Debug, Subcommand)]
pub(super) enum Operator {
    /// Generate a root token from the shares, if no root token is left.
    #[command(subcommand)]
    GenerateRoot(Root),
}

#[derive(Debug, Subcommand)]
pub(super) enum Root {
    /// Begin; prints the one-time password that the token will be hidden in.
    Init,
    /// Say how far it is.
    Status,
    /// Give one share; it is asked for, or read from standard input. The last one prints the hidden token.
    Update {
        /// The name of the attempt; without it, the one that is under way.
        #[arg(long)]
        nonce: Option<String>,
    },
    /// Print the token that is hidden. Needs no server.
    Decode {
        /// The hidden token.
        encoded: String,
        /// The one-time password; asked for, or read from standard input, if it is not given.
        #[arg(long)]
        otp: Option<String>,
    },
    /// Give up.
    Cancel,
}

pub(super) fn rotate(client: &Client, command: Option<Rotate>, format: Format) -> Result<(), Failure> {
    match command {
        None => {
            client.post("sys/rotate", "{}")?.success("rotate")?;
            print(format, &json!({ "rotated": true }), || {
                "New records are sealed with a new key.\n".to_owned()
            })
        }
        Some(Rotate::Status) => {
            let key = client.get("sys/key-status")?.success("ask for the key")?.json()?["data"].clone();
            let old =
                client.get("sys/reencrypt")?.success("ask for the re-encryption")?.json()?["data"].clone();
            print(format, &json!({ "key": key, "reencryption": old }), || {
                let mut rows = vec![
                    ("Key", key["term"].to_string()),
                    ("Since", text(&key["install_time"])),
                    ("Uses", key["encryptions"].to_string()),
                    ("Re-encryption", text(&old["state"])),
                ];
                rows.extend(progress(&old));
                pairs(&rows)
            })
        }
        Some(Rotate::Reencrypt) => {
            let old = client.post("sys/reencrypt", "{}")?.success("re-encrypt")?.json()?["data"].clone();
            print(format, &old, || {
                "Old records are sealed with the newest key in the background; `keyway rotate status` says how far \
                 it is.\n"
                    .to_owned()
            })
        }
        Some(Rotate::Cancel) => {
            client.delete("sys/reencrypt")?.success("end the re-encryption")?;
            print(format, &json!({ "cancelled": true }), || "The re-encryption is ended.\n".to_owned())
        }
    }
}

fn progress(old: &Value) -> Vec<(&'static str, String)> {
    if old["key"].is_null() {
        return Vec::new();
    }
    vec![
        ("Before key", old["key"].to_string()),
        ("Begun", text(&old["started"])),
        ("Ended", text(&old["ended"])),
        ("Secrets seen", old["seen"].to_string()),
        ("Sealed again", old["sealed"].to_string()),
        ("Failed", old["failed"].to_string()),
        ("Waits for", text(&old["waiting_for"])),
    ]
}

pub(super) fn rekey(client: &Client, command: Rekey, format: Format) -> Result<(), Failure> {
    let status = |path: &str| {
        Ok::<_, Failure>(client.get(path)?.success("ask how far it is")?.json()?["data"].clone())
    };
    match command {
        Rekey::Init { shares, threshold, no_verification } => {
            let body = json!({
                "secret_shares": shares,
                "secret_threshold": threshold,
                "require_verification": !no_verification,
            });
            let begun =
                client.post("sys/rekey/init", &body.to_string())?.success("begin to rekey")?.json()?;
            print(format, &begun["data"], || {
                format!(
                    "Begun. {} of the present shares are needed: give each with `keyway rekey update --nonce {}`.\n",
                    begun["data"]["required"],
                    text(&begun["data"]["nonce"])
                )
            })
        }
        Rekey::Status => {
            let status = status("sys/rekey/init")?;
            print(format, &status, || ceremony(&status, "no rekey is under way"))
        }
        Rekey::Update { nonce } => {
            let nonce =
                nonce.map_or_else(|| Ok(text(&status("sys/rekey/init")?["nonce"])), Ok::<_, Failure>)?;
            let given = give(client, "sys/rekey/update", &nonce)?;
            print_once(format, &given["data"], || new_shares(&given["data"]))
        }
        Rekey::Verify { nonce } => {
            let nonce =
                nonce.map_or_else(|| Ok(text(&status("sys/rekey/verify")?["nonce"])), Ok::<_, Failure>)?;
            let given = give(client, "sys/rekey/verify", &nonce)?;
            print(format, &given["data"], || match given["data"]["complete"] == true {
                true => "The new shares unseal from now on, and the former ones are dead.\n".to_owned(),
                false => {
                    format!("{} of {} new shares are back.\n", given["data"]["progress"], given["data"]["t"])
                }
            })
        }
        Rekey::Cancel => {
            client.delete("sys/rekey/init")?.success("give up")?;
            print(format, &json!({ "cancelled": true }), || "Given up: the present shares stay.\n".to_owned())
        }
    }
}

/// Gives a share.
fn give(client: &Client, path: &str, nonce: &str) -> Result<Value, Failure> {
    let share = read_share()?;
    let body = Zeroizing::new(json!({ "key": share.trim(), "nonce": nonce }).to_string());
    client.post(path, &body)?.success("give the share")?.json()
}

fn new_shares(given: &Value) -> String {
    let Some(keys) = given["keys"].as_array() else { return ceremony(given, "no rekey is under way") };
    let mut text_of = String::new();
    for (index, key) in keys.iter().enumerate() {
        text_of.push_str(&format!("Unseal share {}: {}\n", index + 1, text(key)));
    }
    text_of.push_str(if given["verification_required"] == true {
        "\nThey are not in force yet. Give them to their holders, and have enough of them given back with\n\
         `keyway rekey verify`; then the former shares are dead. They are shown only now.\n"
    } else {
        "\nThey unseal from now on, and the former shares are dead. They are shown only now.\n"
    });
    text_of
}

fn ceremony(status: &Value, none: &str) -> String {
    if status["started"] != true {
        return format!("{}{}.\n", none[..1].to_uppercase(), &none[1..]);
    }
    let mut rows = vec![
        ("Nonce", text(&status["nonce"])),
        ("Progress", format!("{}/{}", status["progress"], status["required"])),
    ];
    let verification = text(&status["verification_nonce"]);
    if !verification.is_empty() {
        rows.push(("Verification", verification));
    }
    pairs(&rows)
}

pub(super) fn password(client: &Client, command: Password, format: Format) -> Result<(), Failure> {
    match command {
        Password::Status => {
            let answer = client.get("sys/unseal-password")?.success("ask for the password")?.json()?;
            let data = answer["data"].clone();
            print(format, &data, || match data["is_set"] == true {
                true => format!("A password unseals, since {}.\n", text(&data["created_time"])),
                false => "No password unseals.\n".to_owned(),
            })
        }
        Password::Set => {
            let password = prompt::new_secret("New password: ", "Again: ")?;
            let password = password.trim_end_matches(['\r', '\n']);
            let body = Zeroizing::new(json!({ "password": password }).to_string());
            client.post("sys/unseal-password", &body)?.success("set the password")?;
            print(format, &json!({ "is_set": true }), || {
                "The password unseals as well as the shares: `keyway unseal --password`.\n".to_owned()
            })
        }
        Password::Remove => {
            client.delete("sys/unseal-password")?.success("remove the password")?;
            print(format, &json!({ "is_set": false }), || "No password unseals any more.\n".to_owned())
        }
    }
}

fn decode(encoded: &str, otp: Option<String>, format: Format) -> Result<(), Failure> {
    let otp = otp.map_or_else(|| prompt::secret("One-time password: "), |otp| Ok(otp.into()))?;
    let wrong = |why: &str| Failure::Usage(format!("the hidden token {why}"));
    let hidden = BASE64_NOPAD.decode(encoded.trim().trim_end_matches('=').as_bytes());
    let hidden = hidden.map_err(|_| wrong("is not Base64"))?;
    let otp = otp.trim().as_bytes();
    if hidden.len() != otp.len() {
        return Err(wrong("and the one-time password have different lengths"));
    }
    let token: Vec<u8> = hidden.iter().zip(otp).map(|(hidden, pad)| hidden ^ pad).collect();
    let token =
        String::from_utf8(token).map_err(|_| wrong("and the one-time password do not belong together"))?;
    let token = Zeroizing::new(token);
    print_once(format, &json!({ "token": token.as_str() }), || format!("{}{}", token.as_str(), alone_end()))
}

pub(super) fn generate_root(server: Server, command: Root, format: Format) -> Result<(), Failure> {
    const PATH: &str = "sys/generate-root/attempt";
    let client = || Client::new(server);
    match command {
        Root::Init => {
            let begun = client()?.post(PATH, "{}")?.success("begin")?.json()?["data"].clone();
            print_once(format, &begun, || {
                format!(
                    "One-time password: {}\nNonce: {}\n\nKeep the one-time password. {} shares are needed: give each with\n\
                     `keyway operator generate-root update --nonce {}`.\n",
                    text(&begun["otp"]),
                    text(&begun["nonce"]),
                    begun["required"],
                    text(&begun["nonce"])
                )
            })
        }
        Root::Status => {
            let status = client()?.get(PATH)?.success("ask how far it is")?.json()?["data"].clone();
            print(format, &status, || ceremony(&status, "no root token is being generated"))
        }
        Root::Update { nonce } => {
            let client = client()?;
            let nonce = match nonce {
                Some(nonce) => nonce,
                None => text(&client.get(PATH)?.success("ask how far it is")?.json()?["data"]["nonce"]),
            };
            let given = give(&client, "sys/generate-root/update", &nonce)?["data"].clone();
            print_once(format, &given, || match given["complete"] == true {
                true => format!(
                    "Hidden token: {}\n\nThe holder of the one-time password reads it with `keyway operator generate-root decode`.\n",
                    text(&given["encoded_token"])
                ),
                false => ceremony(&given, "no root token is being generated"),
            })
        }
        Root::Cancel => {
            client()?.delete(PATH)?.success("give up")?;
            print(format, &json!({ "cancelled": true }), || "Given up.\n".to_owned())
        }
        Root::Decode { encoded, otp } => decode(&encoded, otp, format),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
