//! The time, as clients see it.

use jiff::{Timestamp, Unit};

/// Now, in RFC 3339 with microseconds, in UTC.
pub fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Microsecond).unwrap_or(now).to_string()
}
