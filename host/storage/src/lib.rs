//! The way to the backends: every call within the bounds of its backend's [`guard`], every failure with the backend's name.

pub mod ahead;
pub mod breaker;
pub mod epoch;
mod error;
mod guard;
pub mod lease;
mod metrics;
mod request;
mod settle;
mod tally;
pub mod unit;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use keyway_common::{metrics::Metrics, offload};
use keyway_crypto::key::{RandomError, random_bytes};
use keyway_loader::{
    Batch, BatchMode, BatchResult, CallContext, Capabilities, Delete, Down, DropKeyspace, Durability, Error,
    ErrorCode, Features, Generation, Health, InUse, Key, Op, OpResult, Page, Put, ReadConsistency, Record,
    Reply, Scan, Sharing, Slot, Version, WriteId,
};

use self::{
    ahead::{Ahead, Found, Place},
    breaker::Circuit,
    guard::{Guard, Operation},
};
pub use self::{
    error::StorageError,
    guard::CallLimits,
    metrics::{BackendMetrics, CallMetrics},
    request::RequestId,
    settle::Beside,
    tally::Tallied,
};
/// The keyspace of the system's own records.
pub const SYSTEM_KEYSPACE: &str = "keyway-system";

const GET: Operation = Operation::read("get");
const GET_MANY: Operation = Operation::read("get_many");
const SCAN: Operation = Operation::read("scan");
const PUT: Operation = Operation::write("put");
const DELETE: Operation = Operation::write("delete");
const APPLY: Operation = Operation::write("apply");
const DROP_KEYSPACE: Operation = Operation::write("drop_keyspace");

/// Most records that one call reads by their keys.
const READ_AT_ONCE: usize = 500;
/// Most records that one call removes.
const REMOVED_AT_ONCE: usize = 500;
/// How long whoever asks for health waits for a backend that is being swapped.
const SWAP_PATIENCE: Duration = Duration::from_secs(3);
/// How long a server that ends waits for a swap.
const SWAP_ENDS: Duration = Duration::from_secs(10);
/// How many keys are in one part of those that somebody goes through.
const KEYS_AT_ONCE: u32 = 100;

/// Some of the keys of a keyspace, in order.
#[derive(Debug)]
pub struct Keys {
    /// The keys.
    pub keys: Vec<Vec<u8>>,
    /// The key behind which there may be more; none at the end.
    pub next: Option<Vec<u8>>,
}

/// A backend, as the secrets engine uses it.
#[derive(Debug, Clone)]
pub struct Storage {
    backend: Arc<Slot>,
    guard: Arc<Guard>,
}

/// The id of one mutation. Each has one of its own: a backend may take a repeated id for a repeated mutation.
fn write_id() -> Result<WriteId, Error> {
    let failed = |error: RandomError| Error::new(ErrorCode::INTERNAL, error.to_string());
    random_bytes().map(WriteId::new).map_err(failed)
}

impl Storage {
    /// The way to a backend, within the ordinary bounds, measured by nobody.
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
    fn capabilities(&self) -> Capabilities {
        // Of the generation that the work is going to call.
        let pin = unit::pin(&self.backend);
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
    /// Where it is not open: then nobody knows.
    pub fn sharing(&self) -> Result<Sharing, StorageError> {
        let open = self.generation().map_err(|down| self.down(&down))?;
        Ok(open.capabilities().sharing)
    }

    /// Whether records can expire.
    pub fn has_expiry(&self) -> bool {
        self.capabilities().features.contains(Features::EXPIRY)
    }

    /// Whether everything is gone when the backend closes. What is not open counts as lasting: nothing is forgotten for it.
    pub fn is_volatile(&self) -> bool {
        self.generation().is_ok_and(|open| open.capabilities().durability == Durability::VOLATILE)
    }

    /// The record of a key.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn get(&self, request: RequestId, key: Key<'_>) -> Result<Option<Record>, StorageError> {
        let found = self.call(request, GET, |open, call| open.get(call, key)).await?;
        offload::count(found.as_ref().map_or(0, value_bytes)).await;
        Ok(found)
    }

    /// As [`get`](Self::get), unless the record was read ahead.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn get_behind<'a>(
        &self,
        request: RequestId,
        key: Key<'_>,
        ahead: Option<&'a Ahead>,
    ) -> Result<Found<'a>, StorageError> {
        match ahead.and_then(|ahead| ahead.get(key)) {
            Some(record) => Ok(Found::Ahead(record)),
            None => Ok(Found::Now(self.get(request, key).await?)),
        }
    }

    /// The records of several keys, in their order, as far as they are there.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn get_many(
        &self,
        request: RequestId,
        keys: &[Key<'_>],
    ) -> Result<Vec<Option<Record>>, StorageError> {
        let at_once = usize::try_from(self.capabilities().limits.batch_ops).unwrap_or(usize::MAX);
        let mut records = Vec::with_capacity(keys.len());
        for keys in keys.chunks(at_once.clamp(1, READ_AT_ONCE)) {
            let found = self.call(request, GET_MANY, |open, call| open.get_many(call, keys)).await?;
            offload::count(found.iter().flatten().map(value_bytes).sum()).await;
            records.extend(found);
        }
        Ok(records)
    }

    /// Reads what is probably wanted soon, in one call.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn read_ahead(&self, request: RequestId, places: Vec<Place>) -> Result<Ahead, StorageError> {
        let keys: Vec<Key<'_>> = places.iter().map(Place::key).collect();
        let records = match keys.as_slice() {
            [] => Vec::new(),
            [key] => vec![self.get(request, *key).await?],
            keys => self.get_many(request, keys).await?,
        };
        Ok(Ahead::new(places, records))
    }

    /// Writes one record.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn put(&self, request: RequestId, put: Put<'_>) -> Result<Version, StorageError> {
        if unit::fence(&self.backend).is_some() {
            return Ok(self.apply_for_first(request, &[settle::operation(put)]).await?.version());
        }
        let put = put.with_write_id(write_id().map_err(|source| self.error(source))?);
        self.call(request, PUT, |open, call| open.put(call, put)).await
    }

    /// Removes one record.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn delete(&self, request: RequestId, delete: Delete<'_>) -> Result<bool, StorageError> {
        if unit::fence(&self.backend).is_some() {
            let op = Op::delete(delete.key()).when(delete.condition());
            return Ok(self.apply_for_first(request, &[op]).await?.existed());
        }
        let delete = delete.with_write_id(write_id().map_err(|source| self.error(source))?);
        self.call(request, DELETE, |open, call| open.delete(call, delete)).await
    }

    /// One page.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn scan(&self, request: RequestId, scan: Scan<'_>) -> Result<Page, StorageError> {
        let page = self.call(request, SCAN, |open, call| open.scan(call, scan)).await?;
        let entries = page.entries().iter().map(|entry| entry.key().len() + value_bytes(entry.record()));
        let prefixes = page.prefixes().iter().map(|prefix| prefix.len());
        offload::count(entries.chain(prefixes).sum()).await;
        Ok(page)
    }

    /// Some of the keys with a prefix that lie behind the key `after`; an empty one is before all. For whoever goes through
    /// many, and may have to go on after a restart.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn keys_behind(
        &self,
        request: RequestId,
        keyspace: &str,
        prefix: &[u8],
        after: &[u8],
    ) -> Result<Keys, StorageError> {
        let start = if after.is_empty() { Vec::new() } else { [after, &[0]].concat() };
        let mut cursor = Vec::new();
        loop {
            let scan = Scan::prefix(keyspace, prefix).starting_at(&start).keys_only();
            let page = self.scan(request, scan.with_max_items(KEYS_AT_ONCE).resuming_at(&cursor)).await?;
            let keys: Vec<Vec<u8>> = page.entries().iter().map(|entry| entry.key().to_vec()).collect();
            match page.cursor() {
                // A page may be empty though there are more.
                Some(next) if keys.is_empty() => cursor = next.to_vec(),
                Some(_) => return Ok(Keys { next: keys.last().cloned(), keys }),
                None => return Ok(Keys { keys, next: None }),
            }
        }
    }

    /// Removes a keyspace with all its records; answers whether it existed.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn drop_keyspace(&self, request: RequestId, keyspace: &str) -> Result<bool, StorageError> {
        let drop = DropKeyspace::new(keyspace, write_id().map_err(|source| self.error(source))?);
        self.call(request, DROP_KEYSPACE, |open, call| open.drop_keyspace(call, drop)).await
    }

    /// Several operations, all of them or none.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn apply(&self, request: RequestId, ops: &[Op<'_>]) -> Result<(), StorageError> {
        self.apply_all(request, ops).await.map(|_| ())
    }

    /// As [`apply`](Self::apply), with what each operation did. Work that is done behind a fence does nothing any more where that is
    /// gone.
    async fn apply_all(&self, request: RequestId, ops: &[Op<'_>]) -> Result<BatchResult, StorageError> {
        let id = write_id().map_err(|source| self.error(source))?;
        let Some(fence) = unit::fence(&self.backend) else {
            let batch = Batch::new(ops, BatchMode::Atomic, id);
            return self.call(request, APPLY, |open, call| open.apply(call, batch)).await;
        };
        let fenced = [&[fence.check()], ops].concat();
        let batch = Batch::new(&fenced, BatchMode::Atomic, id);
        let applied = self.call(request, APPLY, |open, call| open.apply(call, batch)).await;
        let results = applied.map_err(StorageError::fenced_off)?;
        Ok(results.iter().skip(1).map(|result| result.copied().map_err(Error::clone)).collect())
    }

    /// As [`apply`](Self::apply); what the first operation did.
    async fn apply_for_first(&self, request: RequestId, ops: &[Op<'_>]) -> Result<OpResult, StorageError> {
        let results = self.apply_all(request, ops).await?;
        let done = results.iter().next().and_then(Result::ok).copied();
        done.ok_or_else(|| {
            self.error(Error::new(ErrorCode::INTERNAL, "a batch was answered without its results"))
        })
    }

    /// Removes several records, each for itself.
    ///
    /// # Errors
    ///
    /// The backend's, for the first record that could not be removed.
    pub async fn delete_all(&self, request: RequestId, keys: &[Key<'_>]) -> Result<(), StorageError> {
        let is_fenced = unit::fence(&self.backend).is_some();
        let limit = usize::try_from(self.capabilities().limits.batch_ops).unwrap_or(usize::MAX);
        let limit = limit.saturating_sub(usize::from(is_fenced));
        for keys in keys.chunks(limit.clamp(1, REMOVED_AT_ONCE)) {
            let ops: Vec<Op<'_>> = keys.iter().map(|key| Op::delete(*key)).collect();
            if is_fenced {
                self.apply(request, &ops).await?;
                continue;
            }
            let id = write_id().map_err(|source| self.error(source))?;
            let batch = Batch::new(&ops, BatchMode::Independent, id);
            let results: BatchResult =
                self.call(request, APPLY, |open, call| open.apply(call, batch)).await?;
            if let Some(error) = results.iter().find_map(Result::err) {
                return Err(self.error(error.clone()));
            }
        }
        Ok(())
    }

    /// How the backend is doing.
    ///
    /// # Errors
    ///
    /// The backend's, where it cannot even tell.
    pub async fn health(&self, request: RequestId) -> Result<Health, StorageError> {
        // While it is swapped, its answer is good when it is there again, or late.
        let entered = tokio::time::timeout(SWAP_PATIENCE, self.enter()).await;
        let open = entered.unwrap_or_else(|_| {
            Err(self.error(Error::new(ErrorCode::UNAVAILABLE, "it is being swapped for another generation")))
        })?;
        let health = self.guard.call_health(request, |call| open.health(call)).await;
        health.map_err(|source| self.error(source))
    }

    /// Finishes what is in flight and closes the backend, where it is open, and what is left of former generations. No swap
    /// begins any more.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub async fn shutdown(&self, request: RequestId) -> Result<(), StorageError> {
        // For good: whoever swaps has ended, or does not begin.
        if let Ok(turn) = tokio::time::timeout(SWAP_ENDS, self.backend.turn()).await {
            std::mem::forget(turn);
        }
        let _late = tokio::time::timeout(SWAP_ENDS, self.backend.drained()).await;
        let Ok(open) = self.generation() else { return Ok(()) };
        let closed = self.guard.call_shutdown(request, |call| open.shutdown(call)).await;
        closed.map_err(|source| self.error(source))
    }

    async fn call<T>(
        &self,
        request: RequestId,
        operation: Operation,
        make: impl FnOnce(&Generation, &CallContext<'_>) -> Reply<T>,
    ) -> Result<T, StorageError> {
        let open = self.enter().await?;
        if open.is_cancelled() {
            return Err(self.error(cancelled(operation, false)));
        }
        let (begun, asked) = (Instant::now(), AtomicBool::new(false));
        let calling = self.guard.call((request, open.number()), operation, |call| {
            asked.store(true, Ordering::Relaxed);
            make(&open, call)
        });
        let answer = tokio::select! {
            biased;
            answer = calling => answer,
            () = open.cancelled() => Err(cancelled(operation, asked.load(Ordering::Relaxed))),
        };
        let failure = answer.as_ref().err().map(Error::code);
        self.guard.tally.count(open.number(), failure, begun.elapsed());
        answer.map_err(|source| self.error(source))
    }

    /// The generation that the present unit of work is to call.
    async fn enter(&self) -> Result<InUse, StorageError> {
        let pin = unit::pin(&self.backend);
        let entered = self.backend.enter(pin.as_deref()).await;
        let open = entered.map_err(|down| self.down(&down))?;
        self.guard.serves(open.number());
        Ok(open)
    }

    fn down(&self, down: &Down) -> StorageError {
        self.error(Error::new(ErrorCode::UNAVAILABLE, down.summary.as_str()))
    }

    fn error(&self, source: Error) -> StorageError {
        StorageError::new(self.name(), source)
    }
}

fn value_bytes(record: &Record) -> usize {
    record.value().len()
}

/// A call of a generation that was swapped for another, and did not end in time. What nobody has asked of the backend has not
/// happened; what was, may have, where it writes.
fn cancelled(operation: Operation, was_asked: bool) -> Error {
    let message = "the backend was swapped while this ran, and it did not end in time";
    let error = Error::new(ErrorCode::CANCELLED, message);
    if operation.writes && was_asked { error.with_unknown_outcome() } else { error }
}
