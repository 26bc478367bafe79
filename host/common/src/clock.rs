//! The time, as clients see it.

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Now, to the microsecond.
pub fn timestamp() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Microsecond).unwrap_or(now)
}

/// Now, in RFC 3339 with microseconds, in UTC.
pub fn now() -> String {
    timestamp().to_string()
}

/// Now, in seconds since the Unix epoch; zero before it.
pub fn unix_seconds() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

/// A point in time, to the microsecond. Records hold it in RFC 3339; those of earlier formats hold whole Unix
/// seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(Timestamp);

impl Time {
    /// The latest that there is, in the year 9999.
    pub const MAX: Self = Self(Timestamp::MAX);

    /// Now.
    pub fn now() -> Self {
        Self(timestamp())
    }

    /// A time in RFC 3339, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    /// A number of seconds after the Unix epoch.
    pub fn from_unix_seconds(seconds: u64) -> Self {
        i64::try_from(seconds)
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .map_or(Self::MAX, Self)
    }

    /// Whole seconds since the Unix epoch; zero before it.
    pub fn unix_seconds(self) -> u64 {
        u64::try_from(self.0.as_second()).unwrap_or(0)
    }

    /// The time this number of seconds later.
    #[must_use]
    pub fn after(self, seconds: u64) -> Self {
        let later = i64::try_from(seconds).ok().map(jiff::SignedDuration::from_secs);
        later.and_then(|later| self.0.checked_add(later).ok()).map_or(Self::MAX, Self)
    }

    /// How many seconds it is until then, of which a part counts as one; zero is not later.
    pub fn seconds_until(self, later: Self) -> u64 {
        let left = later.0.as_nanosecond().saturating_sub(self.0.as_nanosecond()).max(0);
        let seconds = left.saturating_add(999_999_999) / 1_000_000_000;
        u64::try_from(seconds).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Kept {
            Seconds(u64),
            Text(String),
        }

        match Kept::deserialize(deserializer)? {
            Kept::Seconds(seconds) => Ok(Self::from_unix_seconds(seconds)),
            Kept::Text(text) => Self::parse(&text).ok_or_else(|| D::Error::custom("this is no time")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_formats_are_read() {
        let read = |json: &str| serde_json::from_str::<Time>(json).ok();
        let whole = Time::from_unix_seconds(1_767_225_600);
        assert_eq!(read("1767225600"), Some(whole));
        assert_eq!(read(r#""2026-01-01T00:00:00Z""#), Some(whole));
        assert_eq!(read(r#""x""#), None);
        let half = Time::parse("2026-01-01T00:00:00.5Z").unwrap();
        let kept = serde_json::to_string(&half).unwrap();
        assert_eq!((kept.as_str(), read(&kept)), (r#""2026-01-01T00:00:00.5Z""#, Some(half)));
    }

    #[test]
    fn parts_of_a_second_count() {
        let whole = Time::from_unix_seconds(100);
        let half = Time::parse("1970-01-01T00:01:40.5Z").unwrap();
        assert!(whole < half);
        assert_eq!((whole.seconds_until(half), half.seconds_until(whole)), (1, 0));
        assert_eq!((half.seconds_until(half.after(3)), half.seconds_until(whole.after(3))), (3, 3));
        assert_eq!(half.after(u64::MAX), Time::MAX);
        assert_eq!(Time::from_unix_seconds(u64::MAX), Time::MAX);
    }
}
