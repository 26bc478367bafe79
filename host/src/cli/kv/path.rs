//! Paths of secrets on the command line and in URLs, and what the version of a mount means for a request. No
//! other module knows how the two versions differ.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value with a name answers null, and never panics"
)]

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::fields::Fields;
use crate::cli::{client::Client, failure::Failure};

/// The characters that are encoded in a path, besides slashes: those that RFC 3986 allows in no segment, and
/// the percent sign.
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

/// The name and the type of the mount that holds each token's own secrets.
const CUBBYHOLE: &str = "cubbyhole";

/// Which of Vault's key-value engines a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KvVersion {
    /// One value for each path. A cubbyhole has the same paths.
    One,
    /// Versions and metadata, under separate paths.
    Two,
}

/// Which part of a secret a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Data,
    /// The names in a folder.
    Names,
    Metadata,
    Delete,
    Undelete,
    Destroy,
}

/// A path with its mount taken off.
#[derive(Debug, Clone)]
pub(super) struct Located {
    mount: String,
    version: KvVersion,
    rest: String,
}

/// What a mount answered for a secret.
pub(super) struct Content {
    /// None for a version that was deleted or destroyed.
    pub(super) fields: Option<Fields>,
    /// None in version 1, which has none.
    pub(super) metadata: Option<Value>,
}

/// Asks the server which part of a path is the mount, and which version the mount has.
pub(super) fn locate(client: &Client, path: &str) -> Result<Located, Failure> {
    let path = path.trim_matches('/');
    if path.is_empty() {
        return Err(Failure::Usage("the path is empty; write MOUNT/NAME, such as secret/app/db".to_owned()));
    }
    let url = format!("sys/internal/ui/mounts/{}", encode(path));
    let answer = client.get(&url)?.success(&format!("find the mount of {path}"))?.json()?;
    Located::from_mount(path, &answer["data"])
}

impl Located {
    fn from_mount(path: &str, mount: &Value) -> Result<Self, Failure> {
        let at = mount["path"].as_str().unwrap_or_default().trim_end_matches('/');
        let version = match (mount["type"].as_str(), &mount["options"]["version"]) {
            (Some("kv" | "generic"), Value::Null) | (Some(CUBBYHOLE), _) => KvVersion::One,
            (Some("kv" | "generic"), version) => match version.as_str().unwrap_or(&version.to_string()) {
                "" | "1" => KvVersion::One,
                "2" => KvVersion::Two,
                other => {
                    let message = format!(
                        "{at} is a key-value mount of version {other}, which this program does not know"
                    );
                    return Err(Failure::Other(message));
                }
            },
            (kind, _) => {
                let kind = kind.unwrap_or("unknown");
                return Err(Failure::Usage(format!(
                    "{path} is in {at}, a mount of type {kind}; `keyway kv` works on key-value mounts"
                )));
            }
        };
        let rest = path.strip_prefix(at).unwrap_or(path).trim_start_matches('/').to_owned();
        Ok(Self { mount: at.to_owned(), version, rest })
    }

    /// The URL's path for a part of the secret, or for the names in the folder.
    ///
    /// # Errors
    ///
    /// If the mount's version has no such part, or if no secret is named.
    pub(super) fn url(&self, part: Part) -> Result<String, Failure> {
        if part != Part::Names && self.rest.is_empty() {
            let mount = &self.mount;
            return Err(Failure::Usage(format!("{mount} names a mount; write {mount}/NAME for a secret")));
        }
        let (mount, rest) = (encode(&self.mount), encode(&self.rest));
        let part = match part {
            Part::Data | Part::Names if self.version == KvVersion::One => {
                return Ok(format!("{mount}/{rest}"));
            }
            Part::Data => "data",
            Part::Names => "metadata",
            Part::Metadata => {
                self.require_version_2("metadata")?;
                "metadata"
            }
            Part::Delete | Part::Undelete | Part::Destroy => {
                self.require_version_2("versions")?;
                match part {
                    Part::Undelete => "undelete",
                    Part::Destroy => "destroy",
                    _ => "delete",
                }
            }
        };
        Ok(format!("{mount}/{part}/{rest}"))
    }

    /// Refuses on a version 1 mount what needs `feature`.
    ///
    /// # Errors
    ///
    /// If the mount has version 1.
    pub(super) fn require_version_2(&self, feature: &str) -> Result<(), Failure> {
        match self.version {
            KvVersion::Two => Ok(()),
            KvVersion::One if self.mount == CUBBYHOLE => {
                Err(Failure::Usage(format!("a cubbyhole has no {feature}")))
            }
            KvVersion::One => {
                let mount = &self.mount;
                Err(Failure::Usage(format!(
                    "{mount} is a version 1 mount, which has no {feature}; `keyway kv enable-versioning {mount}` upgrades it to \
                     version 2"
                )))
            }
        }
    }

    /// Whether deleting a secret leaves versions that can be undeleted.
    pub(super) fn keeps_deleted(&self) -> bool {
        self.version == KvVersion::Two
    }

    /// The body of a request that writes these fields.
    ///
    /// # Errors
    ///
    /// If `cas` is given and the mount has version 1.
    pub(super) fn body(&self, fields: &Fields, cas: Option<u64>) -> Result<String, Failure> {
        if cas.is_some() {
            self.require_version_2("check-and-set (--cas)")?;
        }
        let data = serde_json::to_string(fields).expect("fields are plain data");
        let options = cas.map(|cas| format!(r#","options":{{"cas":{cas}}}"#)).unwrap_or_default();
        Ok(match self.version {
            KvVersion::One => data,
            KvVersion::Two => format!(r#"{{"data":{data}{options}}}"#),
        })
    }

    /// The version that a write made; none in version 1.
    ///
    /// # Errors
    ///
    /// If a mount of version 2 answers without one.
    pub(super) fn written(&self, answer: &Value, path: &str) -> Result<Option<u64>, Failure> {
        match (self.version, answer["data"]["version"].as_u64()) {
            (KvVersion::One, _) => Ok(None),
            (KvVersion::Two, Some(version)) => Ok(Some(version)),
            (KvVersion::Two, None) => {
                Err(Failure::Other(format!("write {path}: the server did not answer with a version")))
            }
        }
    }

    /// What the body of an answer holds of a secret.
    ///
    /// # Errors
    ///
    /// If it is not the answer of such a mount.
    pub(super) fn content(&self, text: &str) -> Result<Content, serde_json::Error> {
        #[derive(Deserialize)]
        struct Plain {
            data: Fields,
        }
        #[derive(Deserialize)]
        struct Versioned {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            data: Option<Fields>,
            metadata: Value,
        }
        Ok(match self.version {
            KvVersion::One => {
                let Plain { data } = serde_json::from_str(text)?;
                Content { fields: Some(data), metadata: None }
            }
            KvVersion::Two => {
                let Versioned { data: Data { data, metadata } } = serde_json::from_str(text)?;
                Content { fields: data, metadata: Some(metadata) }
            }
        })
    }

    /// A secret in this folder.
    pub(super) fn child(&self, name: &str) -> Self {
        let rest = if self.rest.is_empty() { name.to_owned() } else { format!("{}/{name}", self.rest) };
        Self { rest, ..self.clone() }
    }

    /// The path without its mount.
    pub(super) fn rest(&self) -> &str {
        &self.rest
    }

    /// The path with its mount.
    pub(super) fn path(&self) -> String {
        if self.rest.is_empty() { self.mount.clone() } else { format!("{}/{}", self.mount, self.rest) }
    }
}

/// A path as it stands in a URL.
pub(in crate::cli) fn encode(path: &str) -> String {
    utf8_percent_encode(path, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use keyway_common::json::Fields;

    fn located(kind: &str, options: Value) -> Result<Located, Failure> {
        let mount = json!({ "path": "team/kv/", "type": kind, "options": options });
        Located::from_mount("team/kv/app/a b", &mount)
    }

    #[test]
    fn version_of_a_mount_decides_on_its_paths() {
        let plain = json!(null);
        for (kind, options) in
            [("kv", &plain), ("kv", &json!({})), ("kv", &json!({ "version": "1" })), ("cubbyhole", &plain)]
        {
            let one = located(kind, options.clone()).unwrap();
            assert_eq!(one.url(Part::Data).unwrap(), "team/kv/app/a%20b", "{kind} {options}");
            assert_eq!(one.url(Part::Names).unwrap(), "team/kv/app/a%20b");
            for part in [Part::Metadata, Part::Delete, Part::Undelete, Part::Destroy] {
                assert!(matches!(one.url(part), Err(Failure::Usage(_))), "{part:?}");
            }
            assert!(matches!(one.body(&Fields(Vec::new()), Some(0)), Err(Failure::Usage(_))));
        }
        for version in [json!("2"), json!(2)] {
            let two = located("kv", json!({ "version": version })).unwrap();
            for (part, url) in [
                (Part::Data, "team/kv/data/app/a%20b"),
                (Part::Names, "team/kv/metadata/app/a%20b"),
                (Part::Metadata, "team/kv/metadata/app/a%20b"),
                (Part::Delete, "team/kv/delete/app/a%20b"),
                (Part::Undelete, "team/kv/undelete/app/a%20b"),
                (Part::Destroy, "team/kv/destroy/app/a%20b"),
            ] {
                assert_eq!(two.url(part).unwrap(), url);
            }
        }
        assert!(matches!(located("kv", json!({ "version": "3" })), Err(Failure::Other(_))));
        assert!(matches!(located("system", json!(null)), Err(Failure::Usage(_))));
    }
}
