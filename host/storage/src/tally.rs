//! What has become of the calls of one generation: by which a swap is judged that was just made.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use keyway_loader::ErrorCode;

/// Failures of the backend; other errors are its answers.
const FAILURES: [ErrorCode; 6] = [
    ErrorCode::CLOSED,
    ErrorCode::CORRUPT,
    ErrorCode::INTERNAL,
    ErrorCode::PANICKED,
    ErrorCode::TIMEOUT,
    ErrorCode::UNAVAILABLE,
];
/// The last calls whose times are kept.
const TIMES: usize = 512;

/// The calls since a generation has served.
#[derive(Debug, Default)]
pub(super) struct Tally {
    generation: AtomicU64,
    calls: AtomicU64,
    failed: AtomicU64,
    /// In microseconds: a ring of the last ones.
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    ring: Vec<u32>,
    next: usize,
}

/// What a tally says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tallied {
    /// Which generation.
    pub generation: u64,
    /// Its calls.
    pub calls: u64,
    /// Failed calls.
    pub failed: u64,
    /// The time within which 95 of 100 of its last calls were answered.
    pub p95: Duration,
}

impl Tally {
    /// Whether it is a generation that is newer than the one before.
    pub(super) fn begins(&self, generation: u64) -> bool {
        if self.generation.load(Ordering::Relaxed) >= generation
            || self.generation.fetch_max(generation, Ordering::AcqRel) >= generation
        {
            return false;
        }
        self.calls.store(0, Ordering::Release);
        self.failed.store(0, Ordering::Release);
        *self.times.lock().unwrap_or_else(PoisonError::into_inner) = Times::default();
        true
    }

    /// Whether it is this generation's.
    pub(super) fn is_of(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Acquire) == generation
    }

    /// Counts a call of a generation; those of former ones count for nothing.
    pub(super) fn count(&self, generation: u64, failure: Option<ErrorCode>, took: Duration) {
        if self.generation.load(Ordering::Relaxed) != generation {
            return;
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        if failure.is_some_and(|code| FAILURES.contains(&code)) {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        let time = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let next = times.next;
        match times.ring.get_mut(next) {
            Some(place) => *place = time,
            None => times.ring.push(time),
        }
        times.next = (next + 1) % TIMES;
    }

    pub(super) fn read(&self) -> Tallied {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner).ring.clone();
        times.sort_unstable();
        let p95 = times.get((times.len() * 95 / 100).min(times.len().saturating_sub(1)));
        Tallied {
            generation: self.generation.load(Ordering::Acquire),
            calls: self.calls.load(Ordering::Acquire),
            failed: self.failed.load(Ordering::Acquire),
            p95: Duration::from_micros(p95.copied().unwrap_or_default().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_generation_counts_alone() {
        let tally = Tally::default();
        assert!(tally.begins(1));
        tally.count(1, Some(ErrorCode::TIMEOUT), Duration::from_secs(1));
        assert!(tally.begins(3));
        assert!(!tally.begins(3) && !tally.begins(1));
        for number in 0..100 {
            let failure = (number < 10).then_some(ErrorCode::UNAVAILABLE);
            tally.count(3, failure, Duration::from_micros(number));
        }
        tally.count(3, Some(ErrorCode::PRECONDITION_FAILED), Duration::ZERO);
        tally.count(1, Some(ErrorCode::TIMEOUT), Duration::from_secs(1));
        let read = tally.read();
        assert_eq!((read.generation, read.calls, read.failed), (3, 101, 10));
        assert!((94..=96).contains(&read.p95.as_micros()), "{read:?}");
    }
}
