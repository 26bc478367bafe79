//! `keyway kv delete`, `undelete`, `destroy`.

use serde_json::json;

use super::path::locate;
use crate::cli::{
    client::Client,
    failure::Failure,
    output::{Format, print},
};

pub(super) fn delete(client: &Client, path: &str, versions: &[u64], format: Format) -> Result<(), Failure> {
    if versions.is_empty() {
        client.delete(&locate(client, path)?.url("data"))?.success(&format!("delete {path}"))?;
        print(format, &json!({ "path": path, "deleted": true }), || {
            format!("The current version of {path} is deleted.\n")
        })?;
        return Ok(());
    }
    post(client, path, versions, "delete", "deleted", format)
}

pub(super) fn undelete(client: &Client, path: &str, versions: &[u64], format: Format) -> Result<(), Failure> {
    post(client, path, versions, "undelete", "readable again", format)
}

pub(super) fn destroy(client: &Client, path: &str, versions: &[u64], format: Format) -> Result<(), Failure> {
    post(client, path, versions, "destroy", "gone for good", format)
}

fn post(
    client: &Client,
    path: &str,
    versions: &[u64],
    part: &str,
    done: &str,
    format: Format,
) -> Result<(), Failure> {
    let body = json!({ "versions": versions }).to_string();
    client.post(&locate(client, path)?.url(part), &body)?.success(&format!("{part} versions of {path}"))?;
    print(format, &json!({ "path": path, "versions": versions, "done": part }), || {
        let numbers: Vec<String> = versions.iter().map(u64::to_string).collect();
        let (noun, verb) = if versions.len() == 1 { ("Version", "is") } else { ("Versions", "are") };
        format!("{noun} {} of {path} {verb} {done}.\n", numbers.join(", "))
    })?;
    Ok(())
}
