//! `keyway status`, `init`, `unseal`, `seal`.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use std::path::Path;

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{client::Client, failure::Failure, plugin, prompt};
use keyway_terminal::output::{Format, pairs, print, print_once};

/// Says whether the server is initialised and unsealed, and which backends do not serve; exit code 3 while it
/// is sealed, 6 if it cannot be known.
pub(super) fn status(client: &Client, config: Option<&Path>, format: Format) -> Result<(), Failure> {
    // From the files, so that it works without a token and without a server that answers.
    let plugins = config.map(plugin::foresee).transpose()?.unwrap_or_default();
    let told = || plugins.iter().map(|(name, line)| format!("Backend {name}: {line}\n")).collect::<String>();
    let as_json =
        || plugins.iter().map(|(name, line)| (name.clone(), line.as_str().into())).collect::<Map<_, Value>>();
    let health = match client.get("sys/health").and_then(|answer| answer.json()) {
        Ok(health) => health,
        Err(failure) if config.is_some() => {
            print(format, &json!({ "plugins": as_json() }), told)?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    let storage = health["storage"].as_object().cloned().unwrap_or_default();
    let status = match client.get("sys/seal-status")?.success("status") {
        Ok(answer) => answer.json()?,
        Err(failure) => {
            print(format, &json!({ "storage": storage, "plugins": as_json() }), || {
                backends(&storage) + &told()
            })?;
            return Err(failure);
        }
    };
    let mut whole = status.clone();
    whole["storage"] = storage.clone().into();
    if config.is_some() {
        whole["plugins"] = as_json().into();
    }
    print(format, &whole, || describe(&status) + &backends(&storage) + &told())?;
    if status["sealed"] == true {
        let next = if status["initialized"] == true {
            "unseal it with `keyway unseal`"
        } else {
            "run `keyway init`"
        };
        return Err(Failure::Sealed(format!("the server is sealed; {next}")));
    }
    Ok(())
}

/// The backends with a problem or a remark.
fn backends(storage: &Map<String, Value>) -> String {
    let text = |state: &Value| state.as_str().unwrap_or_default().to_owned();
    let notable =
        storage.iter().map(|(name, state)| (name, text(state))).filter(|(_, state)| state != "ready");
    notable.map(|(name, state)| format!("Backend {name}: {state}\n")).collect()
}

/// Makes the keys of a new cluster.
pub(super) fn init(
    client: &Client,
    shares: u64,
    threshold: u64,
    repeat: bool,
    format: Format,
) -> Result<(), Failure> {
    let body =
        json!({ "secret_shares": shares, "secret_threshold": threshold, "repeat": repeat }).to_string();
    let made = client.post("sys/init", &body)?.success("init")?.json()?;
    print_once(format, &made, || describe_keys(&made, shares, threshold))?;
    Ok(())
}

/// Gives the server one share, or makes it forget the shares so far.
pub(super) fn unseal(
    client: &Client,
    share: Option<String>,
    reset: bool,
    format: Format,
) -> Result<(), Failure> {
    let body = if reset {
        json!({ "reset": true }).to_string()
    } else {
        let share = match share {
            Some(share) => Zeroizing::new(share),
            None => read_share()?,
        };
        json!({ "key": share.trim() }).to_string()
    };
    let status = client.post("sys/unseal", &body)?.success("unseal")?.json()?;
    print(format, &status, || describe(&status))?;
    Ok(())
}

/// Unseals with the password.
pub(super) fn unseal_by_password(client: &Client, format: Format) -> Result<(), Failure> {
    let password = prompt::secret("Password: ")?;
    let body = Zeroizing::new(json!({ "password": password.trim_end_matches(['\r', '\n']) }).to_string());
    let status = client.post("sys/unseal", &body)?.success("unseal")?.json()?;
    print(format, &status, || describe(&status))?;
    Ok(())
}

/// Seals the server.
pub(super) fn seal(client: &Client, format: Format) -> Result<(), Failure> {
    client.post("sys/seal", "{}")?.success("seal")?;
    print(format, &json!({ "sealed": true }), || "The server is sealed.\n".to_owned())?;
    Ok(())
}

/// Asks for a share.
pub(super) fn read_share() -> Result<Zeroizing<String>, Failure> {
    let line = prompt::secret("Unseal share: ")?;
    if line.trim().is_empty() {
        return Err(Failure::Usage("no share was given".to_owned()));
    }
    Ok(line)
}

fn describe(status: &Value) -> String {
    let text = |name: &str| match status.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let mut rows = vec![("Initialised", text("initialized")), ("Sealed", text("sealed"))];
    if status["initialized"] == true {
        rows.push(("Shares", text("n")));
        rows.push(("Threshold", text("t")));
        if status["sealed"] == true {
            rows.push(("Progress", format!("{}/{}", text("progress"), text("t"))));
        }
    }
    rows.push(("Storage", text("storage_type")));
    rows.push(("Version", text("keyway_version")));
    pairs(&rows)
}

fn describe_keys(made: &Value, shares: u64, threshold: u64) -> String {
    let keys = made["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    for (index, key) in keys.iter().enumerate() {
        text.push_str(&format!("Unseal share {}: {}\n", index + 1, key.as_str().unwrap_or_default()));
    }
    text.push_str(&format!("\nRoot token: {}\n\n", made["root_token"].as_str().unwrap_or_default()));
    text.push_str(&format!(
        "Any {threshold} of the {shares} shares unseal the server, after every start. They are shown only now: give \
         them to\ndifferent people. Without {threshold} of them no one can read the secrets again.\n"
    ));
    text
}
