//! Measuring in turns: machines are noisy, and what disturbs one contender should disturb the other.

use std::time::Instant;

/// Rounds of each measurement.
const ROUNDS: usize = 15;

/// Nanoseconds per operation, over all rounds.
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

/// Measures the contenders in turns; each does `operations` operations a round. The first round warms up and
/// does not count.
pub(crate) fn in_turns(operations: u32, contenders: &mut [&mut dyn FnMut(u32)]) -> Vec<Spread> {
    let mut times: Vec<Vec<f64>> = contenders.iter().map(|_| Vec::with_capacity(ROUNDS)).collect();
    for round in 0..=ROUNDS {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let begun = Instant::now();
            contender(operations);
            let each = begun.elapsed().as_nanos() as f64 / f64::from(operations);
            if round > 0 {
                times.push(each);
            }
        }
    }
    times.into_iter().map(Spread::of).collect()
}

impl Spread {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |index: usize| times.get(index).copied().unwrap_or(f64::NAN);
        Self { low: at(0), median: at(times.len() / 2), high: at(times.len().saturating_sub(1)) }
    }
}
