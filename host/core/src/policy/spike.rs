//! SPIKE's policies: which workloads, by a pattern of SPIFFE IDs, may do what with secrets, by a pattern of
//! paths. They become the same rules as all others. <https://github.com/spiffe/spike>

use serde::{Deserialize, Serialize};

use super::rule::{Capabilities, PathRule, Permissions};

/// A policy of SPIKE's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpikePolicy {
    /// Which workloads: a SPIFFE ID, with `*` at its end for all that begin like this.
    pub spiffe_id_pattern: String,
    /// Which secrets: a path, with `*` at its end for all that begin like this.
    pub path_pattern: String,
    /// What they may.
    pub permissions: Vec<SpikePermission>,
    /// The mount of the secrets.
    #[serde(default = "secret")]
    pub mount: String,
}

/// What SPIKE lets a workload do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpikePermission {
    /// Reading secrets.
    Read,
    /// Writing, deleting and undeleting secrets.
    Write,
    /// Listing their names.
    List,
    /// All of it, and destroying them.
    Super,
}

fn secret() -> String {
    "secret".to_owned()
}

/// The parts of a mount of KV version 2 that hold a secret, each with what the permissions are there.
const PARTS: [(&str, [Capabilities; 4]); 6] = {
    const NONE: Capabilities = Capabilities::NONE;
    // Read, write, list, super.
    [
        ("data", [Capabilities::READ, WRITE, NONE, ALL]),
        ("subkeys", [Capabilities::READ, NONE, NONE, ALL]),
        ("delete", [NONE, Capabilities::UPDATE, NONE, ALL]),
        ("undelete", [NONE, Capabilities::UPDATE, NONE, ALL]),
        ("destroy", [NONE, NONE, NONE, ALL]),
        ("metadata", [Capabilities::READ, NONE, Capabilities::LIST, ALL]),
    ]
};
const WRITE: Capabilities =
    Capabilities::CREATE.and(Capabilities::UPDATE).and(Capabilities::PATCH).and(Capabilities::DELETE);
const ALL: Capabilities = WRITE.and(Capabilities::READ).and(Capabilities::LIST);

impl SpikePolicy {
    /// What it means.
    ///
    /// # Errors
    ///
    /// A line that says what the problem is.
    pub fn rules(&self) -> Result<Vec<PathRule>, String> {
        check_spiffe_id(&self.spiffe_id_pattern)?;
        let mount = self.mount.trim_matches('/');
        let (path, is_prefix) = path_of(&self.path_pattern)?;
        if mount.is_empty() || mount.contains(['*', '+']) {
            return Err(format!("{:?} is no path of a mount", self.mount));
        }
        if self.permissions.is_empty() {
            return Err("there are no permissions; write read, write, list or super".to_owned());
        }
        let mut rules = Vec::new();
        for (part, of_permissions) in PARTS {
            let [read, write, list, all] = of_permissions;
            let capabilities = self.permissions.iter().fold(Capabilities::NONE, |sum, permission| {
                sum | match permission {
                    SpikePermission::Read => read,
                    SpikePermission::Write => write,
                    SpikePermission::List => list,
                    SpikePermission::Super => all,
                }
            });
            if capabilities != Capabilities::NONE {
                let permissions = Permissions { capabilities, ..Permissions::default() };
                rules.push(PathRule { path: format!("{mount}/{part}/{path}"), is_prefix, permissions });
            }
        }
        Ok(rules)
    }

    /// The same as a policy of paths, for clients that ask for one.
    pub(crate) fn to_acl_text(&self) -> String {
        let rules = self.rules().unwrap_or_default();
        let mut text = format!("# SPIKE: workloads {:?}\n", self.spiffe_id_pattern);
        for rule in rules {
            let names = rule.permissions.capabilities.names();
            let star = if rule.is_prefix { "*" } else { "" };
            text.push_str(&format!("path \"{}{star}\" {{\n  capabilities = {names:?}\n}}\n", rule.path));
        }
        text
    }
}

fn check_spiffe_id(pattern: &str) -> Result<(), String> {
    let (_, id) = plain(pattern);
    let rest = id.strip_prefix("spiffe://").filter(|rest| !rest.is_empty() && !rest.starts_with(['/', '*']));
    let is_plain = id.strip_suffix('*').unwrap_or(&id).bytes().all(is_plain_byte);
    if rest.is_none() || !is_plain {
        return Err(format!(
            "{pattern:?} is no pattern of SPIFFE IDs; write such as spiffe://example.org/workload, with * at its end for all that \
             begin like this"
        ));
    }
    Ok(())
}

fn path_of(pattern: &str) -> Result<(String, bool), String> {
    let (_, path) = plain(pattern);
    let (begin, is_prefix) = path.strip_suffix('*').map_or((path.as_str(), false), |begin| (begin, true));
    let begin = begin.trim_start_matches('/');
    if !begin.bytes().all(is_plain_byte)
        || begin.split('/').any(|segment| matches!(segment, "+" | "." | ".."))
    {
        return Err(format!(
            "{pattern:?} cannot become a pattern of paths: write a path, or one that ends with * (in SPIKE's regular expressions \
             ^path$, or ^path/.*$)"
        ));
    }
    if begin.is_empty() && !is_prefix {
        return Err("the path is empty; all secrets are *".to_owned());
    }
    Ok((begin.to_owned(), is_prefix))
}

/// The pattern without the signs of the regular expressions that say no more than it: whether it was one.
fn plain(pattern: &str) -> (bool, String) {
    let Some(expression) = pattern.strip_prefix('^') else { return (false, pattern.to_owned()) };
    let expression = match expression.strip_suffix('$') {
        Some(whole) => whole.strip_suffix(".*").map_or_else(|| whole.to_owned(), |begin| format!("{begin}*")),
        // Without an end, it is for all that begin like this.
        None => format!("{}*", expression.strip_suffix(".*").unwrap_or(expression)),
    };
    (true, expression.replace("\\.", ".").replace("\\-", "-").replace("\\/", "/"))
}

/// What means nothing else in patterns and regular expressions.
fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'_' | b'.' | b'/' | b':' | b' ' | b'@' | b'~')
        || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(path: &str, permissions: &[SpikePermission]) -> SpikePolicy {
        SpikePolicy {
            spiffe_id_pattern: "spiffe://example.org/app/*".to_owned(),
            path_pattern: path.to_owned(),
            permissions: permissions.to_vec(),
            mount: "secret".to_owned(),
        }
    }

    fn patterns(path: &str, permissions: &[SpikePermission]) -> Vec<(String, bool, Vec<&'static str>)> {
        let rules = policy(path, permissions).rules().unwrap();
        rules
            .into_iter()
            .map(|rule| (rule.path, rule.is_prefix, rule.permissions.capabilities.names()))
            .collect()
    }

    #[test]
    fn permissions_become_capabilities_of_the_mounts_parts() {
        assert_eq!(
            patterns("db/creds", &[SpikePermission::Read]),
            [
                ("secret/data/db/creds".to_owned(), false, vec!["read"]),
                ("secret/subkeys/db/creds".to_owned(), false, vec!["read"]),
                ("secret/metadata/db/creds".to_owned(), false, vec!["read"]),
            ]
        );
        let written = patterns("db/*", &[SpikePermission::Write, SpikePermission::List]);
        assert_eq!(written.len(), 4);
        assert_eq!(
            written[0],
            ("secret/data/db/".to_owned(), true, vec!["update", "delete", "create", "patch"])
        );
        assert_eq!(patterns("*", &[SpikePermission::Super]).len(), 6);
    }

    #[test]
    fn simple_regular_expressions_are_understood_and_others_refused() {
        let read = [SpikePermission::Read];
        assert_eq!(patterns("^db/creds$", &read), patterns("db/creds", &read));
        assert_eq!(patterns("^db/.*$", &read), patterns("db/*", &read));
        assert_eq!(patterns("^db/v1\\.2/", &read), patterns("db/v1.2/*", &read));
        for wrong in ["", "^db/[a-z]+$", "db/*/creds", "a|b", "(a)", "db/+", "a/../b", "^a.*b$", "x?"] {
            assert!(policy(wrong, &read).rules().is_err(), "{wrong}");
        }
        for wrong in ["", "example.org/app", "spiffe://", "spiffe://*", "spiffe://a/[b]"] {
            let spike = SpikePolicy { spiffe_id_pattern: wrong.to_owned(), ..policy("a", &read) };
            assert!(spike.rules().is_err(), "{wrong}");
        }
        assert!(policy("a", &[]).rules().is_err());
    }

    #[test]
    fn text_says_the_same() {
        let spike = policy("db/*", &[SpikePermission::Super]);
        assert_eq!(super::super::parse::parse(&spike.to_acl_text()).unwrap(), spike.rules().unwrap());
    }
}
