//! Connections that many point reads share at the same time: each read is sent at once, after the earlier
//! ones.
//!
//! The server answers the reads of a connection in order. So only reads that take no lock and answer little
//! go here.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use keyway_sdk::Result;

use crate::connect::{Connection, Connector};

/// All lanes.
pub(crate) struct Lanes(Vec<Lane>);

#[derive(Default)]
struct Lane {
    connection: Mutex<Option<Arc<Connection>>>,
    /// Held while a connection is made, so that other calls wait for that one and make none.
    opening: tokio::sync::Mutex<()>,
    in_flight: AtomicUsize,
}

impl Lanes {
    pub(crate) fn new(lanes: usize) -> Self {
        Self(std::iter::repeat_with(Lane::default).take(lanes).collect())
    }

    /// The lane with the fewest calls in it.
    pub(crate) async fn enter<'a>(&'a self, connector: &Connector) -> Result<Turn<'a>> {
        let least = self.0.iter().min_by_key(|lane| lane.in_flight.load(Ordering::Relaxed));
        // There is one at least.
        let Some(lane) = least else { return Err(crate::error::closed()) };
        lane.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut turn = Turn { lane, connection: None };
        turn.connection = Some(lane.connection(connector).await?);
        Ok(turn)
    }

    /// Closes all connections after the reads in flight are answered.
    pub(crate) fn close(&self) {
        for lane in &self.0 {
            drop(lane.present().take());
        }
    }

    /// The number of open ones.
    pub(crate) fn open(&self) -> usize {
        self.0.iter().filter(|lane| lane.live().is_some()).count()
    }
}

impl Lane {
    fn present(&self) -> std::sync::MutexGuard<'_, Option<Arc<Connection>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Option<Arc<Connection>> {
        self.present().as_ref().filter(|connection| !connection.is_closed()).map(Arc::clone)
    }

    async fn connection(&self, connector: &Connector) -> Result<Arc<Connection>> {
        if let Some(connection) = self.live() {
            return Ok(connection);
        }
        let _opening = self.opening.lock().await;
        if let Some(connection) = self.live() {
            return Ok(connection);
        }
        let connection = Arc::new(connector.connect().await?);
        *self.present() = Some(Arc::clone(&connection));
        Ok(connection)
    }
}

/// A call's turn in a lane.
pub(crate) struct Turn<'a> {
    lane: &'a Lane,
    connection: Option<Arc<Connection>>,
}

impl Turn<'_> {
    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.connection.as_deref()
    }

    /// The connection does not answer, or is of no more use: the next call makes another.
    pub(crate) fn give_up(&self) {
        let mut present = self.lane.present();
        let is_same = |present: &Arc<Connection>| {
            self.connection.as_ref().is_some_and(|connection| Arc::ptr_eq(connection, present))
        };
        if present.as_ref().is_some_and(is_same) {
            drop(present.take());
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.lane.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
