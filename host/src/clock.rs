//! The time, as clients see it.

use jiff::{Timestamp, Unit};

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
