//! What all requests share: the core, the measurements, and bounds on what is served at a time.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::error::ApiError;
use crate::{config::Limits, core::Core, metrics::Metrics};

/// Bodies are counted in pieces of so many bytes.
const PIECE_BYTES: usize = 1024;

/// The HTTP edge of a server.
pub struct Edge {
    pub(super) core: Arc<Core>,
    pub(super) metrics: Metrics,
    /// How long a request may take.
    pub(super) deadline: Duration,
    /// Whether anybody who reaches the listener may read the measurements.
    pub(super) open_metrics: bool,
    requests: Semaphore,
    bodies: Arc<Semaphore>,
}

impl Edge {
    /// The edge of a server.
    pub fn new(core: Arc<Core>, metrics: Metrics, limits: &Limits, open_metrics: bool) -> Arc<Self> {
        Arc::new(Self {
            core,
            metrics,
            deadline: limits.request,
            open_metrics,
            requests: Semaphore::new(limits.requests),
            bodies: Arc::new(Semaphore::new(limits.body_memory_bytes / PIECE_BYTES)),
        })
    }

    /// A place among the requests that are served.
    pub(super) fn place(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.requests.try_acquire().map_err(|_| {
            self.metrics.shed_request();
            ApiError::overloaded("too many requests are being served")
        })
    }

    /// Memory for so many more bytes of a body, for as long as it is kept.
    pub(super) fn memory(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
        Arc::clone(&self.bodies).try_acquire_many_owned(pieces).map_err(|_| {
            self.metrics.shed_request();
            ApiError::overloaded("the bodies of too many requests are being served")
        })
    }
}
