//! The entry of a token, sealed in its record.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use ipnet::IpNet;
use keyway_common::clock::{self, Time};
use keyway_crypto::key::{RandomError, random_bytes};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    TokenName,
    life::{End, Life, Lifetimes},
};
use crate::policy::ROOT;

/// The entry of a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The names of its policies, in order.
    pub policies: Vec<String>,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// What names it without being it. Empty for tokens of the first versions of Keyway.
    #[serde(default)]
    pub accessor: String,
    /// What it is called in logs.
    #[serde(default)]
    pub display_name: String,
    /// The path that made it.
    #[serde(default)]
    pub path: String,
    /// The metadata from its maker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<BTreeMap<String, String>>,
    /// The auth method that made it; none is the one of tokens. Without it, it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<Uuid>,
    /// The role that it was made by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its parent, the parent's parent and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Kin>,
    /// Whether its life can be prolonged.
    #[serde(default)]
    pub renewable: bool,
    /// How long it was to live when it was made, in seconds; zero is for ever.
    #[serde(default)]
    pub creation_ttl: u64,
    /// When it dies; none is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// When its life was last prolonged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<Time>,
    /// Each renewal sets its life to this number of seconds; zero means no period. Tokens of a role have the
    /// role's.
    #[serde(default)]
    pub period: u64,
    /// It dies this number of seconds after it was made, even if it is renewed; zero means no such limit.
    #[serde(default)]
    pub explicit_max_ttl: u64,
    /// A bound in records of earlier formats. Mount and role are asked at each renewal instead.
    #[serde(default, skip_serializing)]
    pub max_ttl: u64,
    /// How many uses are left; none is any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u64>,
    /// Only clients with these addresses may use it; none are all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bound_cidrs: Vec<IpNet>,
    /// It is revoked, and its children live on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_orphans: bool,
}

/// The path of root tokens that no token made.
pub const ROOT_PATH: &str = "auth/token/root";

/// An ancestor: where it is, and which one, because another token can take the place of one whose id was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kin {
    /// Its name in the store.
    pub name: TokenName,
    /// Its accessor, which no other token has.
    pub accessor: String,
}

impl Entry {
    /// A root token that lives for ever.
    ///
    /// # Errors
    ///
    /// When the operating system gives no random bytes.
    pub fn root() -> Result<Self, RandomError> {
        Ok(Self {
            policies: vec![ROOT.to_owned()],
            display_name: ROOT.to_owned(),
            path: ROOT_PATH.to_owned(),
            ..Self::new()?
        })
    }

    /// A token that may do nothing, and lives for ever.
    ///
    /// # Errors
    ///
    /// When the operating system gives no random bytes.
    pub fn new() -> Result<Self, RandomError> {
        Ok(Self {
            policies: Vec::new(),
            created: clock::now(),
            accessor: random_accessor()?,
            display_name: String::new(),
            path: String::new(),
            meta: None,
            mount: None,
            role: None,
            ancestors: Vec::new(),
            renewable: false,
            creation_ttl: 0,
            expires: None,
            renewed: None,
            period: 0,
            explicit_max_ttl: 0,
            max_ttl: 0,
            uses_left: None,
            bound_cidrs: Vec::new(),
            left_orphans: false,
        })
    }

    /// Whether it may do everything.
    pub fn is_root(&self) -> bool {
        self.policies.iter().any(|policy| policy == ROOT)
    }

    /// Whether the token itself is alive; its ancestors have to be, too.
    pub fn is_alive(&self, now: Time) -> bool {
        !self.left_orphans && self.uses_left != Some(0) && self.expires.is_none_or(|expires| now < expires)
    }

    /// Whether it has no parent on whose life its own depends.
    pub fn is_orphan(&self) -> bool {
        self.ancestors.is_empty()
    }

    /// When it was made.
    pub fn made(&self) -> Time {
        Time::parse(&self.created).unwrap_or(Time::from_unix_seconds(0))
    }

    /// How long it still lives, in seconds, of which a part counts as one; zero is for ever, or no longer.
    pub fn ttl(&self, now: Time) -> u64 {
        self.expires.map_or(0, |expires| now.seconds_until(expires))
    }

    /// How long it was to live when it was made or last renewed, in seconds.
    pub(crate) fn last_ttl(&self) -> u64 {
        let begun = self.renewed.unwrap_or_else(|| self.made());
        self.expires.map_or(0, |expires| begun.seconds_until(expires))
    }

    /// When it dies, in RFC 3339.
    pub fn expire_time(&self) -> Option<String> {
        self.expires.map(|expires| expires.to_string())
    }

    /// Whether its life can be prolonged; one that never ends cannot.
    pub(crate) fn can_be_renewed(&self) -> bool {
        self.renewable && self.expires.is_some()
    }

    /// Gives a token that was made just now its life.
    pub fn begin(&mut self, life: Life, lifetimes: Lifetimes) -> Vec<String> {
        let made = self.made();
        // Zero bounds nothing, so that there is time left at its beginning.
        let End { at, warnings } =
            life.end(lifetimes, made, made).unwrap_or(End { at: made, warnings: Vec::new() });
        self.expires = Some(at);
        self.creation_ttl = made.seconds_until(at);
        warnings
    }
}

/// An accessor is typed on command lines, where a word that begins with a dash is an option.
fn random_accessor() -> Result<String, RandomError> {
    loop {
        let accessor = BASE64URL_NOPAD.encode(&random_bytes::<18>()?);
        if !accessor.starts_with('-') {
            return Ok(accessor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accessors_do_not_look_like_options() {
        assert!((0..2_000).all(|_| !Entry::new().unwrap().accessor.starts_with('-')));
    }

    #[test]
    fn token_ends_at_its_time_and_not_at_the_next_full_second() {
        let expires = Time::parse("2026-01-01T00:00:00.25Z").unwrap();
        let entry = Entry { expires: Some(expires), ..Entry::new().unwrap() };
        let at = |text: &str| Time::parse(text).unwrap();
        for (now, alive, ttl) in [
            ("2025-12-31T23:59:58.25Z", true, 2),
            ("2025-12-31T23:59:58.75Z", true, 2),
            ("2026-01-01T00:00:00.249999Z", true, 1),
            ("2026-01-01T00:00:00.25Z", false, 0),
            ("2026-01-01T00:00:00.9Z", false, 0),
        ] {
            assert_eq!((entry.is_alive(at(now)), entry.ttl(at(now))), (alive, ttl), "{now}");
        }
    }

    #[test]
    fn records_with_whole_seconds_are_read() {
        let old: Entry = serde_json::from_str(
            r#"{"policies":["a"],"created":"2026-01-01T00:00:00.5Z","expires":1767225700,"renewed":1767225650,"max_ttl":9}"#,
        )
        .unwrap();
        assert_eq!(old.expire_time().unwrap(), "2026-01-01T00:01:40Z");
        assert_eq!(old.renewed.unwrap().unix_seconds(), 1_767_225_650);
        let kept = serde_json::to_string(&old).unwrap();
        assert!(
            kept.contains(r#""expires":"2026-01-01T00:01:40Z""#) && !kept.contains("max_ttl\":9"),
            "{kept}"
        );
        assert_eq!(serde_json::from_str::<Entry>(&kept).unwrap().expires, old.expires);
    }

    #[test]
    fn record_of_a_root_token_of_the_first_version_is_read() {
        let old: Entry =
            serde_json::from_str(r#"{"policies":["root"],"created":"2026-01-01T00:00:00Z"}"#).unwrap();
        assert!(old.is_root() && old.is_alive(Time::now()) && old.is_orphan());
        assert_eq!(old.made().unix_seconds(), 1_767_225_600);
    }
}
