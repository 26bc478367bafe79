//! The seed of generated tests: random, printed, and settable.

use std::env;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Names the seed, a number.
const SEED: &str = "KEYWAY_PARITY_SEED";

/// Whether the long form is wanted.
pub(crate) fn is_long() -> bool {
    env::var("KEYWAY_CAMPAIGN").as_deref() == Ok("long")
}

/// The seed that is wanted, or a random one.
pub(crate) fn seed() -> u64 {
    match env::var(SEED) {
        Ok(seed) => seed.parse().expect("the seed is a number"),
        Err(_) => std::time::UNIX_EPOCH.elapsed().expect("a time after 1970").as_nanos() as u64,
    }
}

/// How to repeat a run.
pub(crate) fn hint(seed: u64) -> String {
    format!("the same again: {SEED}={seed}")
}

/// A runner of this many cases, which shrinks the first that fails.
pub(crate) fn runner(seed: u64, cases: u32, max_shrink_iters: u32) -> TestRunner {
    let config = Config { cases, max_shrink_iters, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
