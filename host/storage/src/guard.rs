//! The guard around every call of a backend: a deadline, limits for running and waiting calls, the circuit
//! breaker, and metrics. A backend that hangs delays no call of another backend.

use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use keyway_loader::{Answered, CallContext, Error, ErrorCode, Health, Reply};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    breaker::{Admitted, Breaker, Circuit, Refused},
    metrics::BackendMetrics,
    operation::Operation,
    tally::Tally,
    work::Work,
};

/// The failures that say that a backend does not serve. All others are answers of one that does.
const DOWN: [ErrorCode; 4] =
    [ErrorCode::CLOSED, ErrorCode::INTERNAL, ErrorCode::TIMEOUT, ErrorCode::UNAVAILABLE];
/// How long the backend may take to say how it is.
const HEALTH_DEADLINE: Duration = Duration::from_secs(3);
/// How long an answer of health is used again.
const HEALTH_AGE: Duration = Duration::from_secs(1);
/// How long a call that finds too many others is asked to wait.
const OVERLOADED: Duration = Duration::from_secs(1);

/// Bounds around the calls of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// How long a call may take, the waiting for its turn included.
    pub deadline: Duration,
    /// How many calls may run at a time.
    pub running: NonZeroUsize,
    /// How many more may wait for their turn.
    pub waiting: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        let running = NonZeroUsize::new(256).expect("256 is not zero");
        Self { deadline: Duration::from_secs(10), running, waiting: 1_024 }
    }
}

/// The guard of one backend.
#[derive(Debug)]
pub(super) struct Guard {
    backend: String,
    limits: CallLimits,
    running: Semaphore,
    waiting: AtomicUsize,
    breaker: Breaker,
    pub(super) tally: Tally,
    latest_health: tokio::sync::Mutex<Option<(Instant, Result<Health, Error>)>>,
    metrics: BackendMetrics,
}

impl Guard {
    pub(super) fn new(backend: &str, limits: CallLimits, metrics: BackendMetrics) -> Self {
        Self {
            backend: backend.to_owned(),
            limits,
            running: Semaphore::new(limits.running.get()),
            waiting: AtomicUsize::new(0),
            breaker: Breaker::default(),
            tally: Tally::default(),
            latest_health: tokio::sync::Mutex::default(),
            metrics,
        }
    }

    /// A generation is called. What a former one has failed says nothing about one that is new.
    pub(super) fn serves(&self, generation: u64) {
        if self.tally.begins(generation) {
            self.breaker.reset();
        }
    }

    pub(super) fn circuit(&self) -> Circuit {
        self.breaker.circuit()
    }

    /// Makes a call within the bounds.
    pub(super) async fn call<T: Answered>(
        &self,
        work: &Work,
        generation: u64,
        operation: Operation,
        make: impl FnOnce(&CallContext<'_>) -> Reply<T>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let result = async {
            let _place = self.place(begun).await?;
            let remaining = self.limits.deadline.saturating_sub(begun.elapsed());
            if remaining < self.limits.deadline / 2 {
                // The time that is left is too short: the call would make a busy backend look slow, and leave
                // writes unknown.
                return Err(self.overloaded("calls before this one took most of its time"));
            }
            let admitted = self.breaker.admit(Instant::now()).map_err(|refused| self.resting(refused))?;
            // A former generation's failure says nothing about the one that serves now.
            let is_down = |result: &Result<T, Error>| is_down(result) && self.tally.is_of(generation);
            self.timed(work, operation, remaining, admitted, make, is_down).await
        };
        let result = result.await;
        self.measure(operation, begun, &result);
        result
    }

    /// Asks for the backend's health, outside the limit on calls, so that the answer comes even if too many
    /// run. If the circuit breaker is due to try again, this is the call that does. One call runs at a time,
    /// and its answer serves all requests of the next second: a health call costs the backend something.
    pub(super) async fn call_health(
        &self,
        work: &Work,
        make: impl FnOnce(&CallContext<'_>) -> Reply<Health>,
    ) -> Result<Health, Error> {
        let mut latest = self.latest_health.lock().await;
        // Good news is old as soon as calls have failed since.
        let is_worse = |health: &Result<_, _>| health.is_ok() && self.breaker.circuit() != Circuit::Closed;
        if let Some((at, health)) = &*latest
            && at.elapsed() < HEALTH_AGE
            && !is_worse(health)
        {
            return health.clone();
        }
        let (begun, operation) = (Instant::now(), Operation::HEALTH);
        let result = match self.breaker.admit(begun) {
            Ok(admitted) => {
                let deadline = self.limits.deadline.min(HEALTH_DEADLINE);
                self.timed(work, operation, deadline, admitted, make, is_down_by_health).await
            }
            Err(refused) => Err(self.resting(refused)),
        };
        self.measure(operation, begun, &result);
        *latest = Some((Instant::now(), result.clone()));
        result
    }

    /// Closes the backend, without any limit but the deadline.
    pub(super) async fn call_shutdown(
        &self,
        work: &Work,
        make: impl FnOnce(&CallContext<'_>) -> Reply<()>,
    ) -> Result<(), Error> {
        let deadline = self.limits.deadline;
        tokio::time::timeout(deadline, make(&work.call(deadline)))
            .await
            .unwrap_or_else(|_| Err(late(Operation::SHUTDOWN, deadline)))
    }

    async fn timed<T: Answered>(
        &self,
        work: &Work,
        operation: Operation,
        remaining: Duration,
        admitted: Admitted<'_>,
        make: impl FnOnce(&CallContext<'_>) -> Reply<T>,
        is_down: impl FnOnce(&Result<T, Error>) -> bool,
    ) -> Result<T, Error> {
        let _in_flight = self.metrics.begin();
        let reply = make(&work.call(remaining));
        // Dropping the reply cancels the call, but a write may still happen.
        let result = tokio::time::timeout(remaining, reply).await;
        let result = result.unwrap_or_else(|_| Err(late(operation, remaining)));
        if is_down(&result) {
            if admitted.failed(Instant::now()) {
                self.metrics.opened();
                let error = result.as_ref().err().map(tracing::field::display);
                tracing::error!(
                    backend = self.backend,
                    error,
                    "the backend does not serve: its circuit is open"
                );
            }
        } else if admitted.succeeded() {
            tracing::info!(backend = self.backend, "the backend serves again: its circuit is closed");
        }
        result
    }

    /// A place among the calls that run; the others wait, up to a number and for as long as their deadline is.
    async fn place(&self, begun: Instant) -> Result<SemaphorePermit<'_>, Error> {
        if let Ok(place) = self.running.try_acquire() {
            return Ok(place);
        }
        let _waiting = Waiting::begin(&self.waiting, self.limits.waiting)
            .ok_or_else(|| self.overloaded("too many calls run and wait already"))?;
        let remaining = self.limits.deadline.saturating_sub(begun.elapsed());
        match tokio::time::timeout(remaining, self.running.acquire()).await {
            Ok(place) => Ok(place.expect("the semaphore is never closed")),
            // Nothing was asked of the backend: that is known.
            Err(_) => Err(self.overloaded("no call before this one has ended in time")),
        }
    }

    /// Nothing was asked of the backend, because others were first.
    fn overloaded(&self, why: &str) -> Error {
        self.metrics.shed();
        Error::new(ErrorCode::RESOURCE_EXHAUSTED, why).with_retry_after_ms(millis(OVERLOADED))
    }

    fn resting(&self, refused: Refused) -> Error {
        self.metrics.refused();
        let message = "it has failed repeatedly and is left alone for a while";
        Error::new(ErrorCode::UNAVAILABLE, message).with_retry_after_ms(millis(refused.after))
    }

    fn measure<T>(&self, operation: Operation, begun: Instant, result: &Result<T, Error>) {
        let code = result.as_ref().err().map_or("ok", |error| error.code().name());
        self.metrics.called(operation.name, code, begun.elapsed());
    }
}

fn is_down<T>(result: &Result<T, Error>) -> bool {
    result.as_ref().is_err_and(|error| DOWN.contains(&error.code()))
}

/// A backend that answers that it cannot even be read does not serve either.
fn is_down_by_health(result: &Result<Health, Error>) -> bool {
    is_down(result) || result.as_ref().is_ok_and(|health| !health.is_readable())
}

fn late(operation: Operation, deadline: Duration) -> Error {
    let error = Error::new(ErrorCode::TIMEOUT, format!("no answer within {} ms", deadline.as_millis()));
    if operation.writes { error.with_unknown_outcome() } else { error }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A waiting call, counted while it waits.
struct Waiting<'g>(&'g AtomicUsize);

impl<'g> Waiting<'g> {
    fn begin(waiting: &'g AtomicUsize, most: usize) -> Option<Self> {
        let joined = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting < most).then_some(waiting + 1)
        });
        joined.ok().map(|_| Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
