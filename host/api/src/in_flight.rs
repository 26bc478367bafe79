//! The requests that are being served, for operators who look for the one that takes long.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use uuid::Uuid;

/// A request that is being served.
#[derive(Debug, Clone)]
pub(super) struct InFlightRequest {
    pub(super) since: Timestamp,
    pub(super) peer: Option<SocketAddr>,
    pub(super) path: String,
    pub(super) method: &'static str,
}

/// All of them. Their number is bounded by that of the connections.
#[derive(Default)]
pub(super) struct InFlight(Mutex<HashMap<Uuid, InFlightRequest>>);

/// Among them until it is dropped.
pub(super) struct Listed<'f> {
    list: &'f InFlight,
    id: Uuid,
}

impl InFlight {
    /// Adds a request.
    pub(super) fn list(&self, id: Uuid, request: InFlightRequest) -> Listed<'_> {
        self.lock().insert(id, request);
        Listed { list: self, id }
    }

    /// The requests that are being served now.
    pub(super) fn all(&self) -> Vec<(Uuid, InFlightRequest)> {
        self.lock().iter().map(|(id, request)| (*id, request.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, InFlightRequest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.list.lock().remove(&self.id);
    }
}
