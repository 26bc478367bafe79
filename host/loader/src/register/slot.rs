//! A backend's place: which generation serves, and who waits while there is none.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, TryAcquireError},
    time::timeout,
};

use super::generation::{Generation, InUse, Stay};
use crate::{BackendConfig, Plugin};

/// Why a backend is not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// In a few words, without paths: for any client.
    pub summary: String,
    /// The plugins and stores that were tried, and what to do: for operators.
    pub reason: String,
}

/// A backend's place: its present generation, or why there is none.
#[derive(Debug)]
pub struct Slot {
    backend: String,
    state: RwLock<State>,
    /// Notified whenever waiting calls may go on.
    released: Notify,
    /// Held while the backend is opened, swapped or closed.
    turn: Semaphore,
    /// With what the generation before the present one was opened.
    before: Mutex<Option<(Plugin, BackendConfig)>>,
    /// Former generations that something still runs on.
    draining: AtomicUsize,
    drained: Notify,
}

#[derive(Debug)]
struct State {
    present: Result<Arc<Generation>, Down>,
    /// Whether calls wait, because one generation is closed and another opened.
    is_held: bool,
}

/// What a unit of work, say a request, remembers of a backend, so that all its calls go to one generation
/// while that serves.
#[derive(Debug, Default)]
pub struct Pin(Mutex<Option<Stay>>);

/// While it exists, calls wait. When it is dropped, they go to the generation that is present then.
#[must_use = "calls go on as soon as it is dropped"]
pub(crate) struct Hold<'a>(&'a Slot);

impl Slot {
    /// The place of a backend that is not open yet.
    pub fn new(backend: &str) -> Self {
        let waiting = "it is being opened".to_owned();
        Self::with(backend.to_owned(), Err(Down { summary: waiting.clone(), reason: waiting }))
    }

    fn with(backend: String, present: Result<Arc<Generation>, Down>) -> Self {
        let state = RwLock::new(State { present, is_held: false });
        Self {
            backend,
            state,
            released: Notify::new(),
            turn: Semaphore::new(1),
            before: Mutex::default(),
            draining: AtomicUsize::new(0),
            drained: Notify::new(),
        }
    }

    /// The backend's name in the configuration.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// The present generation, or why there is none: to look at. To call it, take [`Self::enter`], because
    /// this one may be closed at any time.
    ///
    /// # Errors
    ///
    /// `Down`.
    pub fn generation(&self) -> Result<Arc<Generation>, Down> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).present.clone()
    }

    /// The same, as a unit of work sees it: the generation that it stays with.
    ///
    /// # Errors
    ///
    /// `Down`.
    pub fn look(&self, pin: Option<&Pin>) -> Result<Arc<Generation>, Down> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let present = state.present.as_ref().map_err(Down::clone)?;
        Ok(pin.map_or_else(|| Arc::clone(present), |pin| pin.stay_with(present)))
    }

    /// A generation to call, which is not closed meanwhile: the one that the unit of work has stayed with, if
    /// that still serves, and else the present one. Waits while the backend is closed and opened again for a
    /// swap.
    ///
    /// # Errors
    ///
    /// `Down`.
    pub async fn enter(&self, pin: Option<&Pin>) -> Result<InUse, Down> {
        loop {
            if let Some(entered) = self.try_enter(pin) {
                return entered;
            }
            let released = self.released.notified();
            tokio::pin!(released);
            // Before it is looked at again, so that nothing is missed in between.
            released.as_mut().enable();
            if let Some(entered) = self.try_enter(pin) {
                return entered;
            }
            released.await;
        }
    }

    /// None while calls wait.
    fn try_enter(&self, pin: Option<&Pin>) -> Option<Result<InUse, Down>> {
        // Counted under the lock: a swap that holds the slot afterwards sees all earlier calls.
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.is_held {
            return None;
        }
        let present = match &state.present {
            Ok(present) => present,
            Err(down) => return Some(Err(down.clone())),
        };
        let Some(pin) = pin else { return Some(Ok(InUse::begin(present))) };
        Some(Ok(InUse::begin(&pin.stay_with(present))))
    }

    /// Puts a generation into it; answers the one before. Calls that begin from now on go to the new one.
    pub fn open(&self, generation: Generation) -> Option<Arc<Generation>> {
        self.set(Ok(Arc::new(generation)))
    }

    /// Says why there is none.
    pub fn close(&self, down: Down) {
        self.set(Err(down));
    }

    fn set(&self, present: Result<Arc<Generation>, Down>) -> Option<Arc<Generation>> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut state.present, present).ok()
    }

    /// Former generations that something still runs on.
    pub fn draining(&self) -> usize {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits until there are none.
    pub async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if self.draining() == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Counts one until it is dropped.
    pub(crate) fn drain(self: &Arc<Self>) -> Draining {
        self.draining.fetch_add(1, Ordering::AcqRel);
        Draining(Arc::clone(self))
    }

    /// With what the generation before the present one was opened, in this process.
    pub(crate) fn before(&self) -> Option<(Plugin, BackendConfig)> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_before(&self, former: &Generation) {
        let before = (former.plugin().clone(), former.config().clone());
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    }

    /// The turn to open, swap or close the backend. None after [`Self::end_turns`].
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turn.acquire().await.ok()
    }

    /// The same, without waiting.
    ///
    /// # Errors
    ///
    /// `NoPermits` if another task has the turn; `Closed` after [`Self::end_turns`].
    pub(crate) fn try_turn(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        self.turn.try_acquire()
    }

    /// Waits for the task that has the turn, at most this long, and refuses all further turns.
    pub async fn end_turns(&self, patience: Duration) {
        let _last = timeout(patience, self.turn.acquire()).await;
        self.turn.close();
    }

    /// Makes calls wait from now on. The caller has the turn.
    pub(crate) fn hold(&self) -> Hold<'_> {
        self.state.write().unwrap_or_else(PoisonError::into_inner).is_held = true;
        Hold(self)
    }
}

impl Pin {
    /// The generation that the work stays with, or this one from now on.
    fn stay_with(&self, present: &Arc<Generation>) -> Arc<Generation> {
        let mut stay = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Work that has not ended in time gets an error. It is not moved to another generation.
        let stays = |stay: &Stay| !stay.generation().is_left() || stay.generation().is_cancelled();
        match stay.as_ref().filter(|stay| stays(stay)) {
            Some(stay) => Arc::clone(stay.generation()),
            None => {
                *stay = Some(Stay::begin(present));
                Arc::clone(present)
            }
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner).is_held = false;
        self.0.released.notify_waiters();
    }
}

/// A former generation that something still runs on.
pub(crate) struct Draining(Arc<Slot>);

impl Drop for Draining {
    fn drop(&mut self) {
        if self.0.draining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.drained.notify_waiters();
        }
    }
}

impl From<Generation> for Slot {
    fn from(generation: Generation) -> Self {
        Self::with(generation.backend().to_owned(), Ok(Arc::new(generation)))
    }
}
