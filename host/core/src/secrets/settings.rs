//! What a mount or a secret says about versions. A secret's word comes before its mount's.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How many versions are kept if neither secret nor mount says; Vault's default.
pub(crate) const DEFAULT_MAX_VERSIONS: u32 = 10;
/// The most versions of one secret: its metadata record grows with each.
pub const MAX_MAX_VERSIONS: u32 = 10_000;

/// Settings of a mount or of a secret. Zero, and false, mean that nothing was said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How many versions are kept.
    pub max_versions: u32,
    /// Whether writes must say which version they follow.
    pub cas_required: bool,
    /// After how many nanoseconds a version counts as deleted; negative: never, even if the other side sets a
    /// time.
    pub delete_version_after_ns: i64,
    /// Whether changes of the metadata must say which state of it they follow.
    #[serde(default, skip_serializing_if = "is_false")]
    pub metadata_cas_required: bool,
}

fn is_false(truth: &bool) -> bool {
    !truth
}

impl Settings {
    /// Whether nothing was said.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// A secret's settings within its mount's.
    pub fn within(&self, mount: &Self) -> Effective {
        let said = [self.max_versions, mount.max_versions].into_iter().find(|versions| *versions > 0);
        let lifetimes = [self.delete_version_after_ns, mount.delete_version_after_ns];
        let lifetime = lifetimes.iter().filter_map(|ns| u64::try_from(*ns).ok()).filter(|ns| *ns > 0).min();
        let never = lifetimes.iter().any(|ns| *ns < 0);
        Effective {
            max_versions: said.unwrap_or(DEFAULT_MAX_VERSIONS),
            cas_required: self.cas_required || mount.cas_required,
            metadata_cas_required: self.metadata_cas_required || mount.metadata_cas_required,
            lifetime: lifetime.filter(|_| !never).map(Duration::from_nanos),
        }
    }
}

/// What holds for a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effective {
    /// How many versions are kept; at least one.
    pub max_versions: u32,
    /// Whether writes must say which version they follow.
    pub cas_required: bool,
    /// Whether changes of the metadata must say which state of it they follow.
    pub metadata_cas_required: bool,
    /// How long a version can be read.
    pub lifetime: Option<Duration>,
}

impl Effective {
    /// When a version that is made now counts as deleted.
    pub fn deletion_time(&self, now: Timestamp) -> Option<Timestamp> {
        let lifetime = SignedDuration::try_from(self.lifetime?).unwrap_or(SignedDuration::MAX);
        Some(now.saturating_add(lifetime).unwrap_or(Timestamp::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(max_versions: u32, cas_required: bool, delete_version_after_ns: i64) -> Settings {
        Settings { max_versions, cas_required, delete_version_after_ns, ..Settings::default() }
    }

    #[test]
    fn secret_comes_before_mount_and_mount_before_the_default() {
        let versions =
            |secret, mount| settings(secret, false, 0).within(&settings(mount, false, 0)).max_versions;
        assert_eq!((versions(0, 0), versions(0, 3), versions(5, 3)), (10, 3, 5));
        let cas = |secret, mount| settings(0, secret, 0).within(&settings(0, mount, 0)).cas_required;
        assert!(!cas(false, false) && cas(true, false) && cas(false, true));
    }

    #[test]
    fn shorter_lifetime_wins_and_a_negative_one_is_never() {
        let lifetime = |secret, mount| {
            settings(0, false, secret).within(&settings(0, false, mount)).lifetime.map(|life| life.as_nanos())
        };
        assert_eq!(lifetime(0, 0), None);
        assert_eq!(
            (lifetime(5, 0), lifetime(0, 7), lifetime(5, 7), lifetime(9, 7)),
            (Some(5), Some(7), Some(5), Some(7))
        );
        assert_eq!((lifetime(-1, 7), lifetime(5, -1)), (None, None));
    }

    #[test]
    fn lifetime_beyond_all_times_ends_with_them() {
        let effective = settings(0, false, i64::MAX).within(&Settings::default());
        assert!(effective.deletion_time(Timestamp::MAX) == Some(Timestamp::MAX));
    }
}
