//! A unit of work: a request, say. All its calls of a backend go to one generation, for as long as that serves. And work that is done
//! under a lease: all its writes are checked against the lease's fence.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use keyway_common::offload;
use keyway_loader::{Condition, Op, Pin, Slot, Version};
use tokio::task::JoinHandle;

use super::{Storage, ahead::Place};

#[derive(Clone, Default)]
struct Unit {
    /// Each backend that the work has called, and the generation that it stays with; none where it stays with none.
    stays: Option<Arc<Mutex<Vec<Stay>>>>,
    fence: Option<Arc<Fence>>,
}

/// The version of a record without which nothing is written to its backend.
pub struct Fence {
    slot: Arc<Slot>,
    place: Place,
    version: Version,
}

struct Stay {
    slot: Arc<Slot>,
    pin: Arc<Pin>,
}

tokio::task_local! {
    static UNIT: Unit;
}

/// Does something as one unit of work.
pub fn as_one<F: Future>(work: F) -> impl Future<Output = F::Output> {
    UNIT.scope(Unit { stays: Some(Arc::default()), fence: None }, work)
}

/// Does something behind a fence.
pub fn fenced<F: Future>(fence: Fence, work: F) -> impl Future<Output = F::Output> {
    let unit = UNIT.try_with(Unit::clone).unwrap_or_default();
    UNIT.scope(Unit { fence: Some(Arc::new(fence)), ..unit }, work)
}

/// Does something beside the present task, as part of its unit of work.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let work = offload::beside(work);
    match UNIT.try_with(Unit::clone) {
        Ok(unit) => tokio::spawn(UNIT.scope(unit, work)),
        // Work that is no part of anything.
        Err(_) => tokio::spawn(work),
    }
}

/// Stays with nothing any more: for whoever swaps what it has used itself.
pub fn let_go() {
    let _outside = UNIT.try_with(|unit| {
        if let Some(stays) = &unit.stays {
            stays.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    });
}

/// What the present unit of work stays with at this backend; none outside of one.
pub(super) fn pin(slot: &Arc<Slot>) -> Option<Arc<Pin>> {
    let found = UNIT.try_with(|unit| {
        let mut stays = unit.stays.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stay) = stays.iter().find(|stay| Arc::ptr_eq(&stay.slot, slot)) {
            return Some(Arc::clone(&stay.pin));
        }
        let pin = Arc::<Pin>::default();
        stays.push(Stay { slot: Arc::clone(slot), pin: Arc::clone(&pin) });
        Some(pin)
    });
    found.ok().flatten()
}

/// The fence behind which the present work writes to this backend; none where there is none.
pub(super) fn fence(slot: &Arc<Slot>) -> Option<Arc<Fence>> {
    let fence = UNIT.try_with(|unit| unit.fence.clone()).ok().flatten();
    fence.filter(|fence| Arc::ptr_eq(&fence.slot, slot))
}

impl Fence {
    /// This version of the record at this place.
    pub fn new(storage: &Storage, place: Place, version: Version) -> Self {
        Self { slot: Arc::clone(storage.slot()), place, version }
    }

    /// Fails where the record is another by now.
    pub(super) fn check(&self) -> Op<'_> {
        Op::check(self.place.key(), Condition::Version(self.version))
    }
}
