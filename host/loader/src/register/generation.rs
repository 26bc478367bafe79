//! One opening of a backend, and who uses it.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use crate::{
    BackendConfig, CallContext, Error, ErrorCode, Plugin, Store, polls::PollWatch, services::ServiceContext,
    trace::Listener,
};

/// One opening of a backend. A swap makes a new one and retires the old.
pub struct Generation {
    number: u64,
    config: BackendConfig,
    plugin: Plugin,
    store: Store,
    context: &'static ServiceContext,
    cursor_key: [u8; 32],
    fallback: Option<String>,
    /// Calls that run on it.
    calls: Count,
    /// Units of work that stay with it.
    pins: Count,
    /// Whether nothing stays with it any more, because it is closed or its records are elsewhere.
    left: AtomicBool,
    /// Whether calls that still run on it must end now.
    cancelled: watch::Sender<bool>,
}

impl Generation {
    pub(crate) fn new(
        config: BackendConfig,
        plugin: Plugin,
        store: Store,
        context: &'static ServiceContext,
        cursor_key: [u8; 32],
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            config,
            plugin,
            store,
            context,
            cursor_key,
            fallback: None,
            calls: Count::default(),
            pins: Count::default(),
            left: AtomicBool::new(false),
            cancelled: watch::Sender::new(false),
        }
    }

    /// Counts openings in this process, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The backend's name in the configuration.
    pub fn backend(&self) -> &str {
        &self.config.name
    }

    /// The settings that it was opened with.
    pub fn config(&self) -> &BackendConfig {
        &self.config
    }

    /// The plugin that it was opened with.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// What its cursors are authenticated with.
    pub(crate) fn cursor_key(&self) -> [u8; 32] {
        self.cursor_key
    }

    pub(crate) fn fallen_back(self, fallback: Option<String>) -> Self {
        Self { fallback, ..self }
    }

    /// Why it was not opened with the plugin that the configuration asks for; none if it was.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// What the backend has measured: totals of counters, last values of the rest.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        self.context.metrics()
    }

    /// How often a call or a poll of this opening blocked its thread for longer than
    /// [`SLOW_POLL`](crate::polls::SLOW_POLL).
    pub fn slow_polls(&self) -> u64 {
        self.context.polls().slow()
    }

    /// Leaves the polls of its futures on the threads of their callers, however long they take. For a test that measures
    /// them.
    pub fn keep_polls(&self) {
        self.context.polls().stay();
    }

    /// Tells `listener` of every call from now on, and of its answer. It costs time with each call.
    #[must_use]
    pub fn heard_by(mut self, listener: Arc<dyn Listener>) -> Self {
        self.store = self.store.heard_by(listener);
        self
    }

    /// Starts a call of the store. If it blocks the thread, that counts as a slow poll.
    pub fn start<T>(&self, call: impl FnOnce(&Self) -> T) -> T {
        PollWatch::new(self.context.polls()).timed(|| call(self))
    }

    /// Resolves when calls that still run on this generation must end: it was swapped for another, and the
    /// time to drain is over.
    pub async fn cancelled(&self) {
        let mut cancelled = self.cancelled.subscribe();
        // The sender lives as long as this does.
        let _told = cancelled.wait_for(|cancelled| *cancelled).await;
    }

    /// Whether it is so far.
    pub fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Lets nothing stay with it any more.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    /// Whether nothing stays with it any more.
    pub(crate) fn is_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Waits until no call runs on it.
    pub(crate) async fn quiet(&self) {
        self.calls.none().await;
    }

    /// Waits until nothing uses it or stays with it.
    pub(crate) async fn unused(&self) {
        self.pins.none().await;
        self.calls.none().await;
    }

    /// Closes it, within `deadline`.
    ///
    /// # Errors
    ///
    /// The backend's; `Timeout` if it does not answer.
    pub(crate) async fn close(&self, deadline: Duration) -> Result<(), Error> {
        self.leave();
        let remaining = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        let call = CallContext::background().with_remaining_ms(remaining);
        let closed = tokio::time::timeout(deadline, self.store.shutdown(&call)).await;
        closed.unwrap_or_else(|_| {
            let message = format!("it has not closed within {} ms", deadline.as_millis());
            Err(Error::new(ErrorCode::TIMEOUT, message).with_unknown_outcome())
        })
    }
}

impl Deref for Generation {
    type Target = Store;

    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("number", &self.number)
            .field("backend", &self.config.name)
            .field("plugin", &self.plugin.descriptor().name)
            .finish_non_exhaustive()
    }
}

/// A generation while a call, a transaction or a stream runs on it. The caller keeps it until that has ended:
/// a swap closes a generation only after the last one is dropped.
#[must_use = "the generation may be closed as soon as it is dropped"]
#[derive(Debug)]
pub struct InUse(Arc<Generation>);

impl InUse {
    pub(super) fn begin(generation: &Arc<Generation>) -> Self {
        generation.calls.add();
        Self(Arc::clone(generation))
    }
}

impl Deref for InUse {
    type Target = Generation;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.calls.remove();
    }
}

/// A generation that a unit of work stays with.
#[derive(Debug)]
pub(super) struct Stay(Arc<Generation>);

impl Stay {
    pub(super) fn begin(generation: &Arc<Generation>) -> Self {
        generation.pins.add();
        Self(Arc::clone(generation))
    }

    pub(super) fn generation(&self) -> &Arc<Generation> {
        &self.0
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.pins.remove();
    }
}

/// Counts, and tells when there are none.
#[derive(Debug, Default)]
struct Count {
    number: AtomicUsize,
    none: Notify,
}

impl Count {
    fn add(&self) {
        self.number.fetch_add(1, Ordering::AcqRel);
    }

    fn remove(&self) {
        if self.number.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify_waiters();
        }
    }

    async fn none(&self) {
        loop {
            let none = self.none.notified();
            tokio::pin!(none);
            // Before it is looked at, so that nothing is missed in between.
            none.as_mut().enable();
            if self.number.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}
