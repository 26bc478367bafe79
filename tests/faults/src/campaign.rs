//! How long to go on: short in CI, long on request.

/// The variable that asks for the long form.
const LONG: &str = "KEYWAY_CAMPAIGN";

/// `short` rounds, or `long` ones if the environment has `KEYWAY_CAMPAIGN=long`.
pub fn rounds(short: u64, long: u64) -> u64 {
    if std::env::var(LONG).is_ok_and(|wanted| wanted == "long") { long } else { short }
}
