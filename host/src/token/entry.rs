//! What is known of a token, sealed in its record.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::TokenName;
use crate::{
    clock,
    crypto::key::{RandomError, random_bytes},
    policy::ROOT,
};

/// What is known of a token. Times are Unix seconds.
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
    /// What its maker wrote beside it.
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
    pub expires: Option<u64>,
    /// When its life was last prolonged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<u64>,
    /// Each renewal prolongs its life to so many seconds; zero is not so.
    #[serde(default)]
    pub period: u64,
    /// It dies so many seconds after it was made, however often it is renewed; zero is no such bound.
    #[serde(default)]
    pub explicit_max_ttl: u64,
    /// As `explicit_max_ttl`, by the mount or role that made it; it does not bind tokens with a period.
    #[serde(default)]
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
            path: "auth/token/root".to_owned(),
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
            accessor: BASE64URL_NOPAD.encode(&random_bytes::<18>()?),
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

    /// Whether it is alive by itself; its ancestors have to be, too.
    pub fn is_alive(&self, now: u64) -> bool {
        !self.left_orphans && self.uses_left != Some(0) && self.expires.is_none_or(|expires| now <= expires)
    }

    /// Whether it has no parent on whose life its own depends.
    pub fn is_orphan(&self) -> bool {
        self.ancestors.is_empty()
    }

    /// When it was made.
    pub fn created_s(&self) -> u64 {
        let created = self.created.parse::<Timestamp>().ok();
        created.and_then(|created| u64::try_from(created.as_second()).ok()).unwrap_or(0)
    }

    /// How long it still lives, in seconds; zero is for ever, or no longer.
    pub fn ttl(&self, now: u64) -> u64 {
        self.expires.map_or(0, |expires| expires.saturating_sub(now))
    }

    /// When it dies, in RFC 3339.
    pub fn expire_time(&self) -> Option<String> {
        let expires = i64::try_from(self.expires?).ok()?;
        Some(Timestamp::from_second(expires).ok()?.to_string())
    }

    /// Prolongs its life to so many seconds from now, or as long as it may be; how long that is. None where its life is not
    /// one that can be prolonged.
    pub fn renew(&mut self, now: u64, increment: Option<u64>) -> Option<u64> {
        let present = self.expires?;
        if !self.renewable {
            return None;
        }
        let wanted = match (self.period, increment.filter(|increment| *increment > 0)) {
            (0, None) => self.creation_ttl,
            (0, Some(increment)) => increment,
            (period, _) => period,
        };
        let made = self.created_s();
        let mut expires = now.saturating_add(wanted);
        for (bound, counts) in [(self.explicit_max_ttl, true), (self.max_ttl, self.period == 0)] {
            if bound > 0 && counts {
                expires = expires.min(made.saturating_add(bound));
            }
        }
        // At its end it stays what it was.
        self.expires = Some(if expires > now { expires } else { present });
        self.renewed = Some(now);
        Some(self.ttl(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn entry() -> Entry {
        let created = Timestamp::from_second(NOW as i64).unwrap().to_string();
        Entry {
            created,
            renewable: true,
            creation_ttl: 100,
            expires: Some(NOW + 100),
            ..Entry::new().unwrap()
        }
    }

    #[test]
    fn renewal_prolongs_up_to_the_bounds() {
        let renewed = |entry: Entry, at: u64, increment| {
            let mut entry = entry;
            entry.renew(NOW + at, increment)
        };
        assert_eq!(renewed(entry(), 50, None), Some(100));
        assert_eq!(renewed(entry(), 50, Some(30)), Some(30));
        assert_eq!(renewed(Entry { max_ttl: 120, ..entry() }, 50, None), Some(70));
        assert_eq!(renewed(Entry { explicit_max_ttl: 110, max_ttl: 120, ..entry() }, 50, None), Some(60));
        assert_eq!(renewed(Entry { period: 500, max_ttl: 120, ..entry() }, 50, Some(3)), Some(500));
        assert_eq!(renewed(Entry { period: 500, explicit_max_ttl: 120, ..entry() }, 50, None), Some(70));
        assert_eq!(renewed(Entry { renewable: false, ..entry() }, 50, None), None);
        assert_eq!(renewed(Entry { expires: None, ..entry() }, 50, None), None);
        assert_eq!(
            renewed(Entry { max_ttl: 50, ..entry() }, 60, None),
            Some(40),
            "it is not shortened to nothing"
        );
    }

    #[test]
    fn record_of_a_root_token_of_the_first_version_is_read() {
        let old: Entry =
            serde_json::from_str(r#"{"policies":["root"],"created":"2026-01-01T00:00:00Z"}"#).unwrap();
        assert!(old.is_root() && old.is_alive(NOW) && old.is_orphan());
        assert_eq!(old.created_s(), 1_767_225_600);
    }
}
