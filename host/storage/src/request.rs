//! For whom a backend is called.

use std::time::Duration;

use keyway_loader::CallContext;

/// Which request is served.
#[derive(Debug, Clone, Copy)]
pub struct RequestId {
    id: [u8; 16],
    /// The trace id and the span id of a W3C trace context; zeros where there is none.
    trace: ([u8; 16], [u8; 8]),
}

impl RequestId {
    /// Work that no request asked for.
    pub const BACKGROUND: Self = Self::new([0; 16]);

    /// A request by its id.
    pub const fn new(id: [u8; 16]) -> Self {
        Self { id, trace: ([0; 16], [0; 8]) }
    }

    /// With the trace that it is part of.
    #[must_use]
    pub const fn with_trace(self, trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        Self { trace: (trace_id, span_id), ..self }
    }

    /// What a backend is told of it.
    pub(super) fn call(self, remaining: Duration) -> CallContext<'static> {
        let remaining_ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        let (trace_id, span_id) = self.trace;
        CallContext::new(self.id).with_trace(trace_id, span_id).with_remaining_ms(remaining_ms)
    }
}
