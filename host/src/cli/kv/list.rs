//! `keyway kv list`, and the names in a folder for other commands.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use keyway_terminal::output::{Format, cell, print};

use super::path::{Located, Part, encode, locate};
use crate::cli::{client::Client, failure::Failure};

/// How many names are asked for at a time.
const PART: usize = 1_000;

pub(super) fn run(client: &Client, path: &str, format: Format) -> Result<(), Failure> {
    let names = names(client, &locate(client, path)?, path)?;
    if names.is_empty() {
        return Err(Failure::NotFound(format!("list {path}: there is nothing in it")));
    }
    print(format, &names, || names.iter().map(|name| cell(name) + "\n").collect())?;
    Ok(())
}

/// All names in a folder; none if there is no such folder.
pub(super) fn names(client: &Client, folder: &Located, path: &str) -> Result<Vec<String>, Failure> {
    let (doing, url, mut names) = (format!("list {path}"), folder.url(Part::Names)?, Vec::<String>::new());
    loop {
        let after = names.last().map(|last| format!("&after={}", encode(last).replace('&', "%26")));
        let after = after.unwrap_or_default().replace('+', "%2B");
        let answer = client.get(&format!("{url}?list=true&limit={PART}{after}"))?;
        if answer.is_absent() {
            return Ok(names);
        }
        let keys = answer.success(&doing)?.json()?["data"]["keys"].clone();
        let part: Vec<String> = serde_json::from_value(keys)
            .map_err(|_| Failure::Other(format!("{doing}: the server did not answer with names")))?;
        // A cubbyhole answers with all names, even if only a part is asked for.
        if !names.is_empty() && part.first() == names.first() {
            return Ok(names);
        }
        let is_last = part.len() != PART;
        names.extend(part);
        if is_last {
            return Ok(names);
        }
    }
}
