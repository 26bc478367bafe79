//! Auth methods: which path under `auth/` gives tokens, and how.

use std::collections::BTreeMap;

use keyway_common::clock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{MountError, MountPath, MountTable};
use crate::token::life::Lifetimes;

/// Where tokens themselves are asked about. It is always there.
pub const TOKEN: &str = "token";
/// The auth method for machines, by role id and secret id.
pub const APPROLE: &str = "approle";

/// What a mount says about what it gives out.
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

    /// The one that is always there, as long as nobody has said anything about it.
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
pub struct AuthTable(BTreeMap<String, AuthMount>);

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
    pub fn by_uuid(&self, uuid: Uuid) -> Option<&AuthMount> {
        self.0.values().find(|mount| mount.uuid == uuid)
    }

    /// The one whose path is the longest that `path` begins with, and what comes behind it.
    pub fn resolve<'p>(&self, path: &'p str) -> Option<(&str, &AuthMount, &'p str)> {
        let behind = |at: &str| path.strip_prefix(at)?.strip_prefix('/');
        let found = self.0.iter().filter_map(|(at, mount)| Some((at.as_str(), mount, behind(at)?)));
        found.max_by_key(|(at, ..)| at.len())
    }

    fn check_beside(&self, path: &str) -> Result<(), MountError> {
        let is_inside =
            |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
        for other in self.all().keys() {
            if other == path {
                return Err(MountError::InUse { path: format!("auth/{path}") });
            }
            if is_inside(path, other) || is_inside(other, path) {
                return Err(MountError::Hides(format!(
                    "auth/{path}/ and auth/{other}/ would hide each other's paths"
                )));
            }
        }
        Ok(())
    }
}

impl MountTable {
    /// The auth methods.
    pub fn auth(&self) -> &AuthTable {
        &self.auth
    }

    /// As [`auth`](Self::auth), to change them.
    pub fn auth_mut(&mut self) -> &mut AuthTable {
        &mut self.auth
    }

    /// Adds an auth method.
    ///
    /// # Errors
    ///
    /// Where the path is taken, or one of the two would hide the other's paths.
    pub fn enable(&mut self, path: &MountPath, mount: AuthMount) -> Result<(), MountError> {
        self.auth.check_beside(path.as_str())?;
        self.auth.0.insert(path.as_str().to_owned(), mount);
        Ok(())
    }

    /// Takes an auth method away; its tokens are dead from then on. What it was, if it was there.
    pub fn disable(&mut self, path: &str) -> Option<AuthMount> {
        let mount = if path == TOKEN { None } else { self.auth.0.remove(path) }?;
        self.disabled.push(Disabled { uuid: mount.uuid, since: clock::unix_seconds() });
        Some(mount)
    }

    /// Auth methods that were disabled, and whose records are not all gone.
    pub fn disabled(&self) -> &[Disabled] {
        &self.disabled
    }

    /// Forgets an auth method whose records are gone.
    pub fn forget_disabled(&mut self, uuid: Uuid) {
        self.disabled.retain(|disabled| disabled.uuid != uuid);
    }

    /// Gives an auth method another path.
    ///
    /// # Errors
    ///
    /// `Gone`, and as [`enable`](Self::enable); `InUse` if it is there already.
    pub fn move_auth(&mut self, from: &str, to: &MountPath) -> Result<(), MountError> {
        if from == to.as_str() {
            return Err(MountError::InUse { path: format!("auth/{from}") });
        }
        let gone = || MountError::Gone { path: format!("auth/{from}") };
        let mount = if from == TOKEN { None } else { self.auth.0.remove(from) };
        let mount = mount.ok_or_else(gone)?;
        self.enable(to, AuthMount { moved_from: Some(from.to_owned()), ..mount })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_always_there_and_others_do_not_hide_each_other() {
        let mut table = MountTable::default();
        let path = |text: &str| MountPath::parse(text).unwrap();
        assert_eq!(table.auth().all().len(), 1);
        table.enable(&path("approle"), AuthMount::new(APPROLE, "")).unwrap();
        for taken in ["approle", "token", "token/x", "approle/x"] {
            assert!(table.enable(&path(taken), AuthMount::new(APPROLE, "")).is_err(), "{taken}");
        }
        let (at, mount, rest) = table.auth().resolve("approle/role/x").unwrap();
        assert_eq!((at, mount.kind.as_str(), rest), ("approle", APPROLE, "role/x"));
        let uuid = mount.uuid;
        table.move_auth("approle", &path("machines")).unwrap();
        assert!(table.auth().has(uuid) && table.auth().get("approle").is_none());
        assert_eq!(table.auth().get("machines").unwrap().moved_from.as_deref(), Some("approle"));
        assert!(matches!(table.move_auth("machines", &path("machines")), Err(MountError::InUse { .. })));
        assert!(table.disabled().is_empty());
        assert!(table.disable("machines").is_some() && !table.auth().has(uuid));
        assert_eq!(table.disabled().len(), 1);
        assert!(table.disable("token").is_none() && table.move_auth("token", &path("x")).is_err());
    }

    #[test]
    fn lifetimes_are_the_systems_unless_something_is_said() {
        assert_eq!(Tune::default().lifetimes(), Lifetimes::default());
        let tune = Tune { default_lease_ttl: 500, max_lease_ttl: 100, ..Tune::default() };
        assert_eq!(tune.lifetimes(), Lifetimes { default: 500, max: 100 });
    }
}
