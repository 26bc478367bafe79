//! The state that all requests share: the core, the metrics, and limits on concurrent requests.

use std::{sync::Arc, time::Duration};

use keyway_common::metrics::Metrics;
use keyway_core::Core;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::{
    error::ApiError,
    in_flight::InFlight,
    limit::{ClientLimits, RequestLimits},
    metrics::RequestMetrics,
};

/// Bodies are counted in pieces of this size.
const PIECE_BYTES: usize = 1024;
/// Most bytes of all bodies of requests that show no token.
const OPEN_BODIES_BYTES: usize = 8 * 1024 * 1024;

/// The HTTP edge of a server.
pub struct Edge {
    pub(super) core: Arc<Core>,
    pub(super) metrics: Metrics,
    pub(super) request_metrics: RequestMetrics,
    /// How many lines of the log were dropped.
    pub(super) log_lines_dropped: fn() -> u64,
    /// How long a request may take.
    pub(super) deadline: Duration,
    /// Which routes need no token.
    pub(super) open: OpenRoutes,
    /// What one client may ask for.
    pub(super) clients: ClientLimits,
    /// The requests that are being served.
    pub(super) in_flight: InFlight,
    requests: Semaphore,
    bodies: Arc<Semaphore>,
    /// For bodies of requests that show no token: strangers cannot use up what the others need.
    open_bodies: Arc<Semaphore>,
}

/// What an edge is made with.
pub struct EdgeSettings {
    /// Limits on concurrent requests.
    pub limits: RequestLimits,
    /// Which routes need no token.
    pub open: OpenRoutes,
    /// How many lines of the log were dropped since the program began.
    pub log_lines_dropped: fn() -> u64,
}

/// The routes that the configuration opens to every client.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenRoutes {
    /// The measurements.
    pub metrics: bool,
    /// Rekeying, and making a root token by the shares.
    pub ceremonies: bool,
}

/// A setting that opens routes to every client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// `metrics.unauthenticated`.
    Metrics,
    /// `seal.open_ceremonies`.
    Ceremonies,
}

impl OpenRoutes {
    /// Whether a setting is on.
    pub(super) fn has(self, setting: Setting) -> bool {
        match setting {
            Setting::Metrics => self.metrics,
            Setting::Ceremonies => self.ceremonies,
        }
    }
}

/// Memory that a request's bodies count for, until it is answered.
#[derive(Default)]
pub(super) struct Memory {
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Edge {
    /// The edge of a server.
    pub fn new(core: Arc<Core>, metrics: Metrics, settings: EdgeSettings) -> Arc<Self> {
        let EdgeSettings { limits, open, log_lines_dropped } = settings;
        Arc::new(Self {
            core,
            request_metrics: RequestMetrics::new(&metrics),
            metrics,
            log_lines_dropped,
            deadline: limits.time,
            open,
            clients: ClientLimits::new(&limits),
            in_flight: InFlight::default(),
            requests: Semaphore::new(limits.running),
            bodies: Arc::new(Semaphore::new(limits.body_memory_bytes / PIECE_BYTES)),
            open_bodies: Arc::new(Semaphore::new(OPEN_BODIES_BYTES / PIECE_BYTES)),
        })
    }

    /// A place among the requests that are served.
    pub(super) fn place(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.requests.try_acquire().map_err(|_| {
            self.request_metrics.shed();
            ApiError::overloaded("too many requests are being served")
        })
    }

    /// Reserves memory for this number of bytes more of a request.
    pub(super) fn hold(&self, memory: &mut Memory, more: usize, is_open: bool) -> Result<(), ApiError> {
        let pool = if is_open { &self.open_bodies } else { &self.bodies };
        let bytes = memory.bytes + more;
        let held = memory.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from(bytes.div_ceil(PIECE_BYTES).saturating_sub(held)).unwrap_or(u32::MAX);
        if missing > 0 {
            let permit = Arc::clone(pool).try_acquire_many_owned(missing).map_err(|_| {
                self.request_metrics.shed();
                ApiError::overloaded("the bodies of too many requests are being served")
            })?;
            match &mut memory.permit {
                Some(held) => held.merge(permit),
                None => memory.permit = Some(permit),
            }
        }
        memory.bytes = bytes;
        Ok(())
    }
}
