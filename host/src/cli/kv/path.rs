//! Paths of secrets on the command line, and in URLs.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::cli::{client::Client, failure::Failure};

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

/// A path with its mount taken off.
#[derive(Clone)]
pub(in crate::cli) struct Located {
    mount: String,
    rest: String,
}

/// Asks the server which part of a path is the mount.
pub(in crate::cli) fn locate(client: &Client, path: &str) -> Result<Located, Failure> {
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
    pub(in crate::cli) fn url(&self, part: &str) -> String {
        format!("{}/{part}/{}", encode(&self.mount), encode(&self.rest))
    }

    /// A secret in this folder.
    pub(in crate::cli) fn child(&self, name: &str) -> Self {
        let rest = if self.rest.is_empty() { name.to_owned() } else { format!("{}/{name}", self.rest) };
        Self { mount: self.mount.clone(), rest }
    }

    /// The path without its mount.
    pub(in crate::cli) fn rest(&self) -> &str {
        &self.rest
    }

    /// The path with its mount.
    pub(in crate::cli) fn path(&self) -> String {
        if self.rest.is_empty() { self.mount.clone() } else { format!("{}/{}", self.mount, self.rest) }
    }
}

/// A path as it stands in a URL.
pub(in crate::cli) fn encode(path: &str) -> String {
    utf8_percent_encode(path, SEGMENT).to_string()
}
