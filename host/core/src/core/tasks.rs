//! Tasks in the background, from unsealing to sealing.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::{sync::Notify, task::JoinHandle};
use uuid::Uuid;

/// A task that is aborted when the server is sealed.
#[derive(Default)]
pub(super) struct Task {
    hurry: Arc<Notify>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Task {
    /// Begins the task, in place of a former one. The signal tells it that there is work to do.
    pub(super) fn begin<F>(&self, run: impl FnOnce(Arc<Notify>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = tokio::spawn(run(Arc::clone(&self.hurry)));
        self.replace(Some(running));
    }

    /// Aborts it.
    pub(super) fn end(&self) {
        self.replace(None);
    }

    /// There is something to do. A task that is looking just now looks again.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    fn replace(&self, next: Option<JoinHandle<()>>) {
        let former =
            std::mem::replace(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner), next);
        if let Some(former) = former {
            former.abort();
        }
    }
}

/// The task that tidies.
#[derive(Default)]
pub(super) struct Upkeep {
    pub(super) task: Task,
    /// When tokens are tidied next, at the earliest: it goes through all of them.
    pub(super) tidied_next: Mutex<Option<Instant>>,
}

/// The task that writes this host's record. It is not aborted: it removes the record when the server is sealed.
pub(super) struct Presence {
    /// This process. Another process on the same machine is another host.
    pub(super) id: Uuid,
    stop: Mutex<Option<Arc<Notify>>>,
}

impl Default for Presence {
    fn default() -> Self {
        Self { id: Uuid::new_v4(), stop: Mutex::default() }
    }
}

impl Presence {
    /// Begins it, in the place of a former one. It ends after the signal.
    pub(super) fn begin<F>(&self, run: impl FnOnce(Arc<Notify>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = Arc::<Notify>::default();
        tokio::spawn(run(Arc::clone(&stop)));
        self.replace(Some(stop));
    }

    /// Ends it. The record of a server that ends expires.
    pub(super) fn end(&self) {
        self.replace(None);
    }

    fn replace(&self, next: Option<Arc<Notify>>) {
        let former = std::mem::replace(&mut *self.stop.lock().unwrap_or_else(PoisonError::into_inner), next);
        if let Some(former) = former {
            former.notify_one();
        }
    }
}
