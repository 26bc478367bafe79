//! The circuit breaker: a backend that has failed five times in a row is left alone for a second, then tried
//! with one call; while that fails, it is left alone for twice as long as before, up to half a minute.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The circuit breaker opens after this number of failures in a row.
const FAILURES: u32 = 5;
/// How long it stays open at first.
const FIRST_REST: Duration = Duration::from_secs(1);
/// How long it stays open at most.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// A circuit breaker.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, rest: Duration },
    Trying { rest: Duration },
}

/// What of it is seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// Calls go through.
    Closed,
    /// Calls are refused for a while.
    Open,
    /// One call finds out whether the backend is back.
    HalfOpen,
}

/// A call that was let through. Says what became of it, or was cancelled.
#[must_use = "a call that was let through says what became of it"]
pub(super) struct Admitted<'b> {
    breaker: &'b Breaker,
    tries: bool,
    told: bool,
}

/// A call that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    /// When another may be let through.
    pub(super) after: Duration,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    /// How it stands.
    pub fn circuit(&self) -> Circuit {
        match *self.state() {
            State::Closed { .. } => Circuit::Closed,
            State::Open { .. } => Circuit::Open,
            State::Trying { .. } => Circuit::HalfOpen,
        }
    }

    /// Begins again: what has failed is gone.
    pub(super) fn reset(&self) {
        *self.state() = State::default();
    }

    /// Lets a call through, or not.
    pub(super) fn admit(&self, now: Instant) -> Result<Admitted<'_>, Refused> {
        let mut state = self.state();
        let tries = match *state {
            State::Closed { .. } => false,
            State::Open { until, rest } if now >= until => {
                *state = State::Trying { rest };
                true
            }
            State::Open { until, .. } => return Err(Refused { after: until - now }),
            State::Trying { .. } => return Err(Refused { after: FIRST_REST }),
        };
        Ok(Admitted { breaker: self, tries, told: false })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted<'_> {
    /// The backend has answered. Whether this closed it.
    pub(super) fn succeeded(mut self) -> bool {
        self.told = true;
        let mut state = self.breaker.state();
        let closes = match *state {
            State::Closed { .. } => false,
            State::Trying { .. } if self.tries => true,
            // A late answer from before it opened: the one that tries decides.
            State::Open { .. } | State::Trying { .. } => return false,
        };
        *state = State::Closed { failures: 0 };
        closes
    }

    /// The backend does not serve. Whether this opened it.
    pub(super) fn failed(mut self, now: Instant) -> bool {
        self.told = true;
        let mut state = self.breaker.state();
        let (next, opened) = match *state {
            State::Closed { failures } if failures + 1 >= FAILURES => {
                (State::Open { until: now + FIRST_REST, rest: FIRST_REST }, true)
            }
            State::Closed { failures } => (State::Closed { failures: failures + 1 }, false),
            State::Trying { rest } if self.tries => {
                let rest = (rest * 2).min(LONGEST_REST);
                (State::Open { until: now + rest, rest }, false)
            }
            unchanged => (unchanged, false),
        };
        *state = next;
        opened
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if self.tries && !self.told {
            // Cancelled before it knew: the next call may try at once.
            let mut state = self.breaker.state();
            if let State::Trying { rest } = *state {
                *state = State::Open { until: Instant::now(), rest };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, now: Instant) {
        let _opened = breaker.admit(now).ok().unwrap().failed(now);
    }

    fn opened(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        (0..FAILURES).for_each(|_| fail(&breaker, now));
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..3 {
            (0..4).for_each(|_| fail(&breaker, now));
            assert!(!breaker.admit(now).ok().unwrap().succeeded());
        }
        assert_eq!(breaker.circuit(), Circuit::Closed);
        (0..5).for_each(|_| fail(&breaker, now));
        assert_eq!(breaker.circuit(), Circuit::Open);
        assert_eq!(breaker.admit(now).err(), Some(Refused { after: FIRST_REST }));
    }

    #[test]
    fn one_call_tries_after_the_rest_and_closes_or_doubles_it() {
        let begun = Instant::now();
        let (breaker, mut now, mut rest) = (opened(begun), begun, FIRST_REST);
        for _ in 0..8 {
            now += rest;
            let trying = breaker.admit(now).ok().unwrap();
            assert_eq!(breaker.circuit(), Circuit::HalfOpen);
            assert!(breaker.admit(now).is_err(), "only one");
            assert!(!trying.failed(now));
            rest = (rest * 2).min(LONGEST_REST);
            assert_eq!(breaker.admit(now).err(), Some(Refused { after: rest }));
        }
        assert_eq!(rest, LONGEST_REST);
        assert!(breaker.admit(now + rest).ok().unwrap().succeeded());
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }

    #[test]
    fn cancelled_try_lets_the_next_call_try() {
        let now = Instant::now();
        let breaker = opened(now);
        drop(breaker.admit(now + FIRST_REST).ok().unwrap());
        assert!(breaker.admit(Instant::now() + FIRST_REST).is_ok());
    }

    #[test]
    fn late_answers_from_before_it_opened_change_nothing() {
        let now = Instant::now();
        let breaker = Breaker::default();
        let (late, later) = (breaker.admit(now).ok().unwrap(), breaker.admit(now).ok().unwrap());
        (0..FAILURES).for_each(|_| fail(&breaker, now));
        assert!(!late.succeeded());
        assert!(!later.failed(now + LONGEST_REST));
        assert_eq!(breaker.admit(now).err(), Some(Refused { after: FIRST_REST }));
    }
}
