//! `keyway kv delete`, `undelete`, `destroy`.

use keyway_terminal::output::{Format, print};
use serde_json::json;

use super::path::{Part, locate};
use crate::cli::{client::Client, failure::Failure};

pub(super) fn delete(client: &Client, path: &str, versions: &[u64], format: Format) -> Result<(), Failure> {
    if versions.is_empty() {
        let located = locate(client, path)?;
        client.delete(&located.url(Part::Data)?)?.success(&format!("delete {path}"))?;
        print(format, &json!({ "path": path, "deleted": true }), || match located.keeps_deleted() {
            true => format!("The current version of {path} is deleted.\n"),
            false => format!("{path} is removed.\n"),
        })?;
        return Ok(());
    }
    post(client, path, versions, Part::Delete, "delete", "deleted", format)
}

pub(super) fn undelete(client: &Client, path: &str, versions: &[u64], format: Format) -> Result<(), Failure> {
    post(client, path, versions, Part::Undelete, "undelete", "readable again", format)
}

pub(super) fn destroy(client: &Client, path: &str, versions: &[u64], format: Format) -> Result<(), Failure> {
    post(client, path, versions, Part::Destroy, "destroy", "gone for good", format)
}

fn post(
    client: &Client,
    path: &str,
    versions: &[u64],
    part: Part,
    doing: &str,
    done: &str,
    format: Format,
) -> Result<(), Failure> {
    let body = json!({ "versions": versions }).to_string();
    client.post(&locate(client, path)?.url(part)?, &body)?.success(&format!("{doing} versions of {path}"))?;
    print(format, &json!({ "path": path, "versions": versions, "done": doing }), || {
        let numbers: Vec<String> = versions.iter().map(u64::to_string).collect();
        let (noun, verb) = if versions.len() == 1 { ("Version", "is") } else { ("Versions", "are") };
        format!("{noun} {} of {path} {verb} {done}.\n", numbers.join(", "))
    })?;
    Ok(())
}
