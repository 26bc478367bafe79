//! One backend, and the way of every call to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use keyway_common::metrics::Metrics;
use keyway_loader::{
    Answered, CallContext, Capabilities, Down, Durability, Error, ErrorCode, Features, Generation, InUse,
    ReadConsistency, Reply, Sharing, Slot,
};

use crate::{
    BackendMetrics, CallLimits, CallMetrics, StorageError, Tallied, Work, breaker::Circuit, guard::Guard,
    operation::Operation,
};

/// A backend, as the secrets engine uses it.
#[derive(Debug, Clone)]
pub struct Storage {
    pub(crate) backend: Arc<Slot>,
    pub(crate) guard: Arc<Guard>,
}

impl Storage {
    /// The way to a backend, with default limits and metrics that nothing collects.
    pub fn new(backend: Arc<Slot>) -> Self {
        let metrics = CallMetrics::new(&Metrics::new()).backend(backend.backend());
        Self::guarded(backend, CallLimits::default(), metrics)
    }

    /// The way to a backend.
    pub fn guarded(backend: Arc<Slot>, limits: CallLimits, metrics: BackendMetrics) -> Self {
        let guard = Arc::new(Guard::new(backend.backend(), limits, metrics));
        Self { backend, guard }
    }

    /// The backend's place.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.backend
    }

    /// What has become of the calls of the present generation.
    pub fn tallied(&self) -> Tallied {
        self.guard.tally.read()
    }

    /// Whether calls go through.
    pub fn circuit(&self) -> Circuit {
        self.guard.circuit()
    }

    /// The open backend, or why it is not open.
    ///
    /// # Errors
    ///
    /// `Down`.
    pub fn generation(&self) -> Result<Arc<Generation>, Down> {
        self.backend.generation()
    }

    /// The backend's name in the configuration.
    pub fn name(&self) -> &str {
        self.backend.backend()
    }

    /// The plugin's name; none while it is not open.
    pub fn plugin(&self) -> Option<String> {
        Some(self.generation().ok()?.plugin().descriptor().name.clone())
    }

    /// What it promises; nothing while it is not open.
    pub(crate) fn capabilities(&self, work: &Work) -> Capabilities {
        // Of the generation that the work is going to call.
        let pin = work.pin(&self.backend);
        self.backend.look(pin.as_deref()).map(|open| open.capabilities()).unwrap_or_default()
    }

    /// Whether reads may be of an earlier state than what was acknowledged.
    pub fn may_read_stale(&self) -> bool {
        self.generation().is_ok_and(|open| open.capabilities().read_consistency == ReadConsistency::EVENTUAL)
    }

    /// Whether other hosts may have it open, too.
    pub fn is_shared_by_hosts(&self) -> bool {
        self.sharing().is_ok_and(|sharing| sharing == Sharing::MANY_HOSTS)
    }

    /// Who else may have it open.
    ///
    /// # Errors
    ///
    /// The backend is not open, so this is not known.
    pub fn sharing(&self) -> Result<Sharing, StorageError> {
        let open = self.generation().map_err(|down| self.down(Operation::CAPABILITIES, &down))?;
        Ok(open.capabilities().sharing)
    }

    /// Whether records can expire.
    pub fn has_expiry(&self, work: &Work) -> bool {
        self.capabilities(work).features.contains(Features::EXPIRY)
    }

    /// Whether all records are lost when the backend closes. A backend that is not open counts as lasting, so
    /// that the server forgets nothing.
    pub fn is_volatile(&self) -> bool {
        self.generation().is_ok_and(|open| open.capabilities().durability == Durability::VOLATILE)
    }

    pub(crate) async fn call<T: Answered>(
        &self,
        work: &Work,
        operation: Operation,
        make: impl FnOnce(&Generation, &CallContext<'_>) -> Reply<T>,
    ) -> Result<T, StorageError> {
        let open = self.enter(work, operation).await?;
        if open.is_cancelled() {
            return Err(self.error(operation, cancelled(operation, false)));
        }
        let (begun, asked) = (Instant::now(), AtomicBool::new(false));
        let calling = self.guard.call(work, open.number(), operation, |call| {
            asked.store(true, Ordering::Relaxed);
            open.start(|open| make(open, call))
        });
        let answer = tokio::select! {
            biased;
            answer = calling => answer,
            () = open.cancelled() => Err(cancelled(operation, asked.load(Ordering::Relaxed))),
        };
        let failure = answer.as_ref().err().map(Error::code);
        self.guard.tally.count(open.number(), failure, begun.elapsed());
        answer.map_err(|source| self.error(operation, source))
    }

    /// The generation that the present unit of work is to call.
    pub(crate) async fn enter(&self, work: &Work, operation: Operation) -> Result<InUse, StorageError> {
        let pin = work.pin(&self.backend);
        let entered = self.backend.enter(pin.as_deref()).await;
        let open = entered.map_err(|down| self.down(operation, &down))?;
        self.guard.serves(open.number());
        Ok(open)
    }

    fn down(&self, operation: Operation, down: &Down) -> StorageError {
        self.error(operation, Error::new(ErrorCode::UNAVAILABLE, down.summary.as_str()))
    }

    pub(crate) fn error(&self, operation: Operation, source: Error) -> StorageError {
        StorageError::new(operation.name, self.name(), source)
    }
}

/// A call of a generation that was swapped, and did not end in time. If the backend was not asked, nothing
/// has happened. If it was asked to write, the outcome is unknown.
fn cancelled(operation: Operation, was_asked: bool) -> Error {
    let message = "the backend was swapped while this ran, and it did not end in time";
    let error = Error::new(ErrorCode::CANCELLED, message);
    if operation.writes && was_asked { error.with_unknown_outcome() } else { error }
}
