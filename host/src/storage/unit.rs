//! A unit of work: a request, say. All its calls of a backend go to one generation, for as long as that serves.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use keyway_loader::{Pin, Slot};
use tokio::task::JoinHandle;

/// Each backend that the work has called, and the generation that it stays with.
#[derive(Clone, Default)]
struct Unit(Arc<Mutex<Vec<Stay>>>);

struct Stay {
    slot: Arc<Slot>,
    pin: Arc<Pin>,
}

tokio::task_local! {
    static UNIT: Unit;
}

/// Does something as one unit of work.
pub async fn as_one<F: Future>(work: F) -> F::Output {
    UNIT.scope(Unit::default(), work).await
}

/// Does something beside the present task, as part of its unit of work.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match UNIT.try_with(Unit::clone) {
        Ok(unit) => tokio::spawn(UNIT.scope(unit, work)),
        // Work that is no part of anything.
        Err(_) => tokio::spawn(work),
    }
}

/// Stays with nothing any more: for whoever swaps what it has used itself.
pub fn let_go() {
    let _outside = UNIT.try_with(|unit| unit.0.lock().unwrap_or_else(PoisonError::into_inner).clear());
}

/// What the present unit of work stays with at this backend; none outside of one.
pub(super) fn pin(slot: &Arc<Slot>) -> Option<Arc<Pin>> {
    let found = UNIT.try_with(|unit| {
        let mut stays = unit.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stay) = stays.iter().find(|stay| Arc::ptr_eq(&stay.slot, slot)) {
            return Arc::clone(&stay.pin);
        }
        let pin = Arc::<Pin>::default();
        stays.push(Stay { slot: Arc::clone(slot), pin: Arc::clone(&pin) });
        pin
    });
    found.ok()
}
