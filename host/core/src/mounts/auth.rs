//! Auth methods: which path under `auth/` gives tokens, and how.

use std::collections::BTreeMap;

use keyway_common::clock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::MountError;
use crate::token::life::Lifetimes;

/// Where tokens themselves are asked about. It is always there.
pub const TOKEN: &str = "token";
/// The auth method for machines, by role id and secret id.
pub const APPROLE: &str = "approle";

/// The settings of a mount for leases and listings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tune {
    /// For how long, in seconds; zero is as the system has it.
    #[serde(skip_serializing_if = "is_zero")]
    pub default_lease_ttl: u64,
    /// For how long at most, in seconds; zero is as the system has it.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_lease_ttl: u64,
    /// Whether strangers see that it is there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_listed: bool,
    /// Whether its owner has written that strangers do not see it, so that it reads back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_hidden: bool,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Tune {
    /// Who sees that it is there, if its owner has said so.
    pub fn listing_visibility(&self) -> Option<&'static str> {
        match (self.is_listed, self.is_hidden) {
            (true, _) => Some("unauth"),
            (false, true) => Some("hidden"),
            (false, false) => None,
        }
    }

    /// The bounds on the life of tokens.
    pub fn lifetimes(&self) -> Lifetimes {
        let system = Lifetimes::default();
        let or = |said: u64, otherwise: u64| if said == 0 { otherwise } else { said };
        Lifetimes {
            default: or(self.default_lease_ttl, system.default),
            max: or(self.max_lease_ttl, system.max),
        }
    }
}

/// One auth method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthMount {
    /// Its identity.
    pub uuid: Uuid,
    /// A short name for it.
    pub accessor: String,
    /// Which method: `approle`, `token`.
    pub kind: String,
    /// When it was made.
    pub created: String,
    /// What it is for, in its owner's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it says about its tokens.
    #[serde(default)]
    pub tune: Tune,
    /// Where it was before it was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<String>,
}

impl AuthMount {
    /// A new one.
    pub fn new(kind: &str, description: &str) -> Self {
        let uuid = Uuid::new_v4();
        let short = uuid.simple().to_string().chars().take(8).collect::<String>();
        Self {
            uuid,
            accessor: format!("auth_{kind}_{short}"),
            kind: kind.to_owned(),
            created: clock::now(),
            description: description.to_owned(),
            tune: Tune::default(),
            moved_from: None,
        }
    }

    /// The mount that always exists, as it is before any change.
    fn tokens() -> Self {
        Self {
            uuid: Uuid::nil(),
            accessor: "auth_token_builtin".to_owned(),
            kind: TOKEN.to_owned(),
            created: String::new(),
            description: "token based credentials".to_owned(),
            tune: Tune::default(),
            moved_from: None,
        }
    }
}

/// An auth method that was disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disabled {
    /// Its identity.
    pub uuid: Uuid,
    /// When, in Unix seconds: logins that were under way may end after that.
    pub since: u64,
}

/// All auth methods by path, without `auth/` and slashes at the ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AuthTable(pub(super) BTreeMap<String, AuthMount>);

impl AuthTable {
    /// Whether there is none but the one that is always there, as it always is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them by path.
    pub fn all(&self) -> BTreeMap<String, AuthMount> {
        let mut all = self.0.clone();
        all.entry(TOKEN.to_owned()).or_insert_with(AuthMount::tokens);
        all
    }

    /// The one at exactly this path.
    pub fn get(&self, path: &str) -> Option<AuthMount> {
        self.0.get(path).cloned().or_else(|| (path == TOKEN).then(AuthMount::tokens))
    }

    /// As [`get`](Self::get), to change it.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut AuthMount> {
        if path == TOKEN {
            return Some(self.0.entry(TOKEN.to_owned()).or_insert_with(AuthMount::tokens));
        }
        self.0.get_mut(path)
    }

    /// Whether tokens of this one may be alive.
    pub fn has(&self, uuid: Uuid) -> bool {
        self.by_uuid(uuid).is_some()
    }

    /// The one of this identity.
    pub(crate) fn by_uuid(&self, uuid: Uuid) -> Option<&AuthMount> {
        self.0.values().find(|mount| mount.uuid == uuid)
    }

    /// The mount with the longest path that `path` begins with, and the rest of `path`.
    pub fn resolve<'p>(&self, path: &'p str) -> Option<(&str, &AuthMount, &'p str)> {
        let behind = |at: &str| path.strip_prefix(at)?.strip_prefix('/');
        let found = self.0.iter().filter_map(|(at, mount)| Some((at.as_str(), mount, behind(at)?)));
        found.max_by_key(|(at, ..)| at.len())
    }

    pub(super) fn check_free(&self, path: &str) -> Result<(), MountError> {
        let is_inside =
            |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        for other in self.all().keys() {
            if other == path {
                return Err(MountError::InUse { path: format!("auth/{path}") });
            }
            if is_inside(path, other) || is_inside(other, path) {
                return Err(MountError::Hides { path: path.to_owned(), other: other.clone() });
            }
        }
        Ok(())
    }
}
