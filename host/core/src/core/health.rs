//! How the server and its backends are doing.

use std::sync::Arc;

use keyway_loader::{Down, Grant, Health};
use keyway_storage::{Storage, StorageError, Work};

use super::{Core, CoreError, SealStatus};

/// How the server is doing.
pub struct HealthReport {
    /// The seal; an error if it cannot be known, and none if the system backend does not answer anyway.
    pub seal: Option<Result<SealStatus, CoreError>>,
    /// What each backend says of itself.
    pub storage: Vec<BackendHealth>,
    /// Whether there is an audit device that accepts lines, if there are devices.
    pub audits: bool,
    /// Whether the store was seen to hold a cluster since the server began.
    pub was_initialised: bool,
}

/// How a backend is doing.
pub struct BackendHealth {
    /// Its name.
    pub backend: String,
    /// What it says of itself.
    pub health: Result<Health, StorageError>,
    /// Why it is not open; none if it is.
    pub down: Option<Down>,
    /// Whether it was opened with another plugin than the one that the configuration asks for.
    pub fell_back: bool,
    /// Whether its plugin runs unchecked.
    pub unchecked: bool,
}

impl BackendHealth {
    async fn of(storage: &Storage, work: &Work) -> Self {
        let open = storage.generation();
        Self {
            backend: storage.name().to_owned(),
            fell_back: open.as_ref().is_ok_and(|open| open.fallback().is_some()),
            unchecked: open.as_ref().is_ok_and(|open| open.plugin().grant() == Some(&Grant::Unchecked)),
            down: open.err(),
            health: storage.health(work).await,
        }
    }

    /// Whether it reads and writes.
    pub fn is_ready(&self) -> bool {
        self.health.as_ref().is_ok_and(Health::is_ready)
    }
}

impl Core {
    /// How the server and its backends are doing.
    pub async fn health(self: &Arc<Self>, work: &Work) -> HealthReport {
        // All at a time: one that hangs does not keep the others waiting.
        let asked: Vec<_> = self
            .backends
            .all()
            .map(|storage| {
                let (storage, work) = (storage.clone(), work.detached());
                tokio::spawn(async move { BackendHealth::of(&storage, &work).await })
            })
            .collect();
        let mut storage = Vec::with_capacity(asked.len());
        for asked in asked {
            storage.extend(asked.await);
        }
        storage.sort_by(|one: &BackendHealth, other| one.backend.cmp(&other.backend));
        let answers = |of: &BackendHealth| {
            of.backend == self.backends.system.name() && of.health.as_ref().is_ok_and(Health::is_readable)
        };
        // If the store hangs, a health request must not wait for it a second time.
        let seal = if storage.iter().any(answers) {
            Some(self.seal_control().seal_status(work).await)
        } else {
            None
        };
        let was_initialised = self.sealing.was_initialised();
        HealthReport { seal, storage, audits: self.audit.accepts(), was_initialised }
    }
}
