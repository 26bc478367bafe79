//! How long a token lives: a pure function of the request, of the limits of role and mount, and of the time
//! when it was made.

use keyway_common::{clock::Time, duration};

/// How long a token lives that says nothing, and at most, in seconds: 32 days.
pub(crate) const SYSTEM_TTL: u64 = 2_764_800;

/// Bounds on the life of the tokens of a mount, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// For tokens without a wanted lifetime.
    pub default: u64,
    /// For all.
    pub max: u64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { default: SYSTEM_TTL, max: SYSTEM_TTL }
    }
}

/// The limits of a life besides the mount's, in seconds; zero means not given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Life {
    /// As it is asked for.
    pub ttl: u64,
    /// How long it lives if nothing is asked for.
    pub otherwise: u64,
    /// The bound of the role.
    pub max_ttl: u64,
    /// The bound that counts for periodic tokens, too.
    pub explicit_max_ttl: u64,
    /// To how long each renewal prolongs it.
    pub period: u64,
}

/// The end of a life.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    /// When it is.
    pub at: Time,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

impl Life {
    /// When a token ends that was made then, and is made or renewed now. None if the time that it may live
    /// has passed.
    pub fn end(self, lifetimes: Lifetimes, made: Time, now: Time) -> Option<End> {
        let bounds = [lifetimes.max, self.max_ttl, self.explicit_max_ttl];
        let max = bounds.into_iter().filter(|bound| *bound > 0).min().unwrap_or(lifetimes.max);
        let mut warnings = Vec::new();
        let mut warn = |what: &str, asked: u64, bound: u64| {
            let (asked, bound) = (text(asked), text(bound));
            let value = if what == "period" { "period" } else { "TTL" };
            warnings.push(format!(
                "{what} of \"{asked}\" exceeded the effective max_ttl of \"{bound}\"; {value} value is capped accordingly"
            ));
        };
        let (wanted, bound) = if self.period > 0 {
            if self.period > max {
                warn("period", self.period, max);
            }
            (self.period.min(max), self.explicit_max_ttl)
        } else {
            let said = [self.ttl, self.otherwise].into_iter().find(|ttl| *ttl > 0);
            (said.unwrap_or(lifetimes.default), max)
        };
        let asked = now.after(wanted);
        let last = if bound > 0 { made.after(bound) } else { Time::MAX };
        if last <= now {
            return None;
        }
        // A part of a second is no news.
        if now.seconds_until(last) < wanted {
            warn("TTL", wanted, now.seconds_until(last));
        }
        Some(End { at: asked.min(last), warnings })
    }
}

/// Seconds as OpenBao writes them in its warnings: Go's text without zero units at its end.
fn text(seconds: u64) -> String {
    let nanoseconds = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000_000));
    let text = duration::text(nanoseconds.unwrap_or(i64::MAX));
    let text = text.strip_suffix("0s").filter(|rest| rest.ends_with('m')).unwrap_or(&text);
    text.strip_suffix("0m").filter(|rest| rest.ends_with('h')).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a token lives whose time began this number of seconds ago, and the warnings.
    fn given(life: Life, lifetimes: Lifetimes, ago: u64) -> Option<(u64, Vec<String>)> {
        let made = Time::from_unix_seconds(1_000_000);
        let now = made.after(ago);
        life.end(lifetimes, made, now).map(|end| (now.seconds_until(end.at), end.warnings))
    }

    const BOUNDS: Lifetimes = Lifetimes { default: 100, max: 200 };

    fn silent(ttl: u64) -> Option<(u64, Vec<String>)> {
        Some((ttl, Vec::new()))
    }

    fn capped(ttl: u64, warning: &str) -> Option<(u64, Vec<String>)> {
        Some((ttl, vec![warning.to_owned()]))
    }

    #[test]
    fn life_is_within_its_bounds() {
        assert_eq!(given(Life::default(), BOUNDS, 0), silent(100));
        assert_eq!(given(Life { ttl: 150, ..Life::default() }, BOUNDS, 0), silent(150));
        assert_eq!(given(Life { otherwise: 150, ..Life::default() }, BOUNDS, 0), silent(150));
        assert_eq!(given(Life { ttl: 120, otherwise: 150, ..Life::default() }, BOUNDS, 0), silent(120));
        let warning =
            r#"TTL of "8m20s" exceeded the effective max_ttl of "3m20s"; TTL value is capped accordingly"#;
        assert_eq!(given(Life { ttl: 500, ..Life::default() }, BOUNDS, 0), capped(200, warning));
        let warning =
            r#"TTL of "1m40s" exceeded the effective max_ttl of "50s"; TTL value is capped accordingly"#;
        assert_eq!(given(Life { explicit_max_ttl: 50, ..Life::default() }, BOUNDS, 0), capped(50, warning));
        assert_eq!(given(Life { max_ttl: 50, ..Life::default() }, BOUNDS, 0), capped(50, warning));
    }

    #[test]
    fn periods_are_within_what_the_mount_allows() {
        let periodic = Life { period: 60, ..Life::default() };
        assert_eq!(given(periodic, BOUNDS, 0), silent(60));
        assert_eq!(given(periodic, BOUNDS, 100_000), silent(60), "they have no end");
        let warning = r#"period of "15m" exceeded the effective max_ttl of "3m20s"; period value is capped accordingly"#;
        assert_eq!(given(Life { period: 900, ..Life::default() }, BOUNDS, 0), capped(200, warning));
        let bound = Life { explicit_max_ttl: 120, ..periodic };
        let warning =
            r#"TTL of "1m" exceeded the effective max_ttl of "20s"; TTL value is capped accordingly"#;
        assert_eq!(given(bound, BOUNDS, 100), capped(20, warning));
        assert_eq!(given(bound, BOUNDS, 120), None);
    }

    #[test]
    fn renewal_counts_from_when_it_was_made() {
        let warning =
            r#"TTL of "1h" exceeded the effective max_ttl of "50s"; TTL value is capped accordingly"#;
        assert_eq!(given(Life { ttl: 3_600, ..Life::default() }, BOUNDS, 150), capped(50, warning));
        assert_eq!(given(Life { ttl: 10, ..Life::default() }, BOUNDS, 150), silent(10));
        assert_eq!(given(Life { ttl: 10, ..Life::default() }, BOUNDS, 200), None, "the time has passed");
        assert_eq!(given(Life { ttl: 10, ..Life::default() }, BOUNDS, 300), None);
    }

    #[test]
    fn seconds_are_written_as_openbao_writes_them() {
        for (seconds, written) in
            [(5, "5s"), (60, "1m"), (100, "1m40s"), (3_600, "1h"), (3_601, "1h0m1s"), (5_400, "1h30m")]
        {
            assert_eq!(text(seconds), written);
        }
    }
}
