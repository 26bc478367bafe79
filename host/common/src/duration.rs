//! Durations as Go writes them, which is how Vault's clients do: `1h30m`, `90s`, `0s`. A bare number is seconds.

use serde::{Deserialize, de::IgnoredAny};

const NS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A duration in a request: text or seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Given {
    /// A number of seconds.
    Seconds(i64),
    /// Text.
    Text(String),
    /// No duration.
    Other(IgnoredAny),
}

impl Given {
    /// The duration in nanoseconds.
    ///
    /// # Errors
    ///
    /// A line that says why the text is not a duration.
    pub fn nanoseconds(&self) -> Result<i64, String> {
        match self {
            Self::Seconds(seconds) => seconds.checked_mul(1_000_000_000).ok_or_else(too_long),
            Self::Text(text) => parse(text),
            Self::Other(_) => Err(wrong()),
        }
    }
}

/// Parses a duration, in nanoseconds.
///
/// # Errors
///
/// A line that says why the text is not a duration.
pub fn parse(text: &str) -> Result<i64, String> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut total: i128 = 0;
    let mut rest = unsigned;
    if let Ok(seconds) = unsigned.parse::<u64>() {
        total = i128::from(seconds) * 1_000_000_000;
        rest = "";
    } else if let Some(days) = unsigned.strip_suffix('d') {
        // Not Go's, but Vault takes whole days without other units.
        total = i128::from(days.parse::<u64>().map_err(|_| wrong())?) * 86_400_000_000_000;
        rest = "";
    } else if unsigned.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, behind) = rest.split_at(end);
        let (unit, factor) = NS.iter().find(|(unit, _)| is_unit(behind, unit)).ok_or_else(wrong)?;
        total = total.saturating_add(scaled(number, *factor).ok_or_else(wrong)?);
        rest = behind.strip_prefix(unit).unwrap_or_default();
    }
    let signed = if negative { -total } else { total };
    i64::try_from(signed).map_err(|_| too_long())
}

/// Whether a text begins with this unit, and not with a longer one.
fn is_unit(text: &str, unit: &str) -> bool {
    text.strip_prefix(unit).is_some_and(|behind| {
        behind.is_empty() || behind.starts_with(|c: char| c.is_ascii_digit() || c == '.')
    })
}

/// A decimal number times a factor, without the rounding of floating point.
fn scaled(number: &str, factor: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || number.len() > 30 {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i128>().ok() };
    let places = u32::try_from(fraction.len()).ok()?;
    let whole = digits(whole)?.checked_mul(factor)?;
    let fraction = digits(fraction)?.checked_mul(factor)?.checked_div(10_i128.checked_pow(places)?)?;
    whole.checked_add(fraction)
}

fn wrong() -> String {
    "it is no duration; write such as 1h30m, 90s or 0s".to_owned()
}

fn too_long() -> String {
    "it is a longer duration than 292 years".to_owned()
}

/// A duration in nanoseconds, in Go's text.
pub fn text(nanoseconds: i64) -> String {
    let magnitude = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let decimal = |unit: u64, name: &str| {
        let (whole, rest) = (magnitude / unit, magnitude % unit);
        let width = unit.ilog10() as usize;
        let fraction = format!("{rest:0width$}");
        let fraction = fraction.trim_end_matches('0');
        if rest == 0 { format!("{sign}{whole}{name}") } else { format!("{sign}{whole}.{fraction}{name}") }
    };
    match magnitude {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => decimal(1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(1_000_000, "ms"),
        _ => {
            let seconds = magnitude / 1_000_000_000;
            let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
            let (rest, fraction) = (seconds % 60, magnitude % 1_000_000_000);
            let fraction = if fraction == 0 {
                String::new()
            } else {
                format!(".{}", format!("{fraction:09}").trim_end_matches('0'))
            };
            match (hours, minutes) {
                (0, 0) => format!("{sign}{rest}{fraction}s"),
                (0, _) => format!("{sign}{minutes}m{rest}{fraction}s"),
                _ => format!("{sign}{hours}h{minutes}m{rest}{fraction}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_and_written_as_go_does() {
        for (given, ns, written) in [
            ("0s", 0, "0s"),
            ("0", 0, "0s"),
            ("30m", 1_800_000_000_000, "30m0s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("3h25m19s", 12_319_000_000_000, "3h25m19s"),
            ("90", 90_000_000_000, "1m30s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("-1s", -1_000_000_000, "-1s"),
            ("1500ms", 1_500_000_000, "1.5s"),
            ("250ms", 250_000_000, "250ms"),
            ("1.5us", 1_500, "1.5µs"),
            ("2µs", 2_000, "2µs"),
            ("7ns", 7, "7ns"),
            ("30d", 2_592_000_000_000_000, "720h0m0s"),
            (".5h", 1_800_000_000_000, "30m0s"),
        ] {
            assert_eq!(parse(given), Ok(ns), "{given}");
            assert_eq!(text(ns), written, "{given}");
        }
        assert_eq!(text(i64::MIN), "-2562047h47m16.854775808s");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for wrong in [
            "",
            "-",
            "h",
            "1w",
            "1h 30m",
            "1..5s",
            ".s",
            "1mm",
            "s1",
            "99999999h",
            "1e3s",
            "٣s",
            "1d1h",
            "1.5d",
            "+-1d",
            "0x10",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
