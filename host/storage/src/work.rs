//! What a call of a backend belongs to: a request, or a task in the background.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keyway_loader::{CallContext, Condition, Op, Pin, Slot, Version};

use crate::prefetch::RecordKey;

/// What a call of a backend belongs to. Every call takes it; a clone is the same work.
#[derive(Clone)]
pub struct Work {
    id: [u8; 16],
    /// The trace id and the span id of a W3C trace context; zeros if there is none.
    trace: ([u8; 16], [u8; 8]),
    /// The generation of each backend that the work has called; none if its calls may go to different generations.
    pins: Option<Arc<Mutex<Vec<Pinned>>>>,
    fence: Option<Arc<Fence>>,
}

/// Work that no request asked for. Each of its calls goes to the generation that serves then.
pub static BACKGROUND: Work = Work::unpinned([0; 16]);

struct Pinned {
    slot: Arc<Slot>,
    pin: Arc<Pin>,
}

/// The version of a record that a write of fenced work requires.
struct Fence {
    slot: Arc<Slot>,
    place: RecordKey,
    version: Version,
}

impl Work {
    /// A request by its id. All its calls of one backend go to one generation, for as long as that serves.
    pub fn new(id: [u8; 16]) -> Self {
        Self { pins: Some(Arc::default()), ..Self::unpinned(id) }
    }

    /// Work of which each call goes to the generation that serves then.
    pub const fn unpinned(id: [u8; 16]) -> Self {
        Self { id, trace: ([0; 16], [0; 8]), pins: None, fence: None }
    }

    /// With the trace that it is part of.
    #[must_use]
    pub fn with_trace(self, trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        Self { trace: (trace_id, span_id), ..self }
    }

    /// The same request or task, of which each call goes to the generation that serves then.
    pub fn detached(&self) -> Self {
        Self { pins: None, ..self.clone() }
    }

    /// The same work; its writes to `slot` require that the record at `place` has this version.
    pub(crate) fn fenced(&self, slot: &Arc<Slot>, place: RecordKey, version: Version) -> Self {
        Self { fence: Some(Arc::new(Fence { slot: Arc::clone(slot), place, version })), ..self.clone() }
    }

    /// Releases the generations that it has called. A swap does not wait for the request that asked for it.
    pub fn unpin(&self) {
        if let Some(pins) = &self.pins {
            pins.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// The pin of the work at this backend; none if it is not pinned.
    pub(crate) fn pin(&self, slot: &Arc<Slot>) -> Option<Arc<Pin>> {
        let mut pins = self.pins.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pinned) = pins.iter().find(|pinned| Arc::ptr_eq(&pinned.slot, slot)) {
            return Some(Arc::clone(&pinned.pin));
        }
        let pin = Arc::<Pin>::default();
        pins.push(Pinned { slot: Arc::clone(slot), pin: Arc::clone(&pin) });
        Some(pin)
    }

    /// The check that every write to this backend needs; none if the work is not fenced there.
    pub(crate) fn fence(&self, slot: &Arc<Slot>) -> Option<Op<'_>> {
        let fence = self.fence.as_deref().filter(|fence| Arc::ptr_eq(&fence.slot, slot))?;
        Some(Op::check(fence.place.key(), Condition::Version(fence.version)))
    }

    /// The context of a backend's call.
    pub(crate) fn call(&self, remaining: Duration) -> CallContext<'static> {
        let remaining_ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        let (trace_id, span_id) = self.trace;
        CallContext::new(self.id).with_trace(trace_id, span_id).with_remaining_ms(remaining_ms)
    }
}
