//! What travels with every call: context, request and answer envelopes, and the shape of an asynchronous result.

use abi_stable::{
    StableAbi,
    std_types::{RBox, ROption, RResult, RSlice, RVec},
};
use async_ffi::FfiFuture;

use crate::{Error, flags::unknown_flags};

/// Who calls, and how much time there is.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct CallContext<'a> {
    request_id: [u8; 16],
    trace_id: [u8; 16],
    span_id: [u8; 8],
    remaining_ms: u64,
    flags: u64,
    extension: RSlice<'a, u8>,
}

impl CallContext<'_> {
    /// A context for the request `request_id`, without trace and deadline.
    #[inline]
    pub const fn new(request_id: [u8; 16]) -> Self {
        Self {
            request_id,
            trace_id: [0; 16],
            span_id: [0; 8],
            remaining_ms: u64::MAX,
            flags: 0,
            extension: RSlice::EMPTY,
        }
    }

    /// A context for work that no request asked for.
    #[inline]
    pub const fn background() -> Self {
        Self::new([0; 16])
    }

    /// With the ids of a W3C trace context.
    #[must_use]
    #[inline]
    pub const fn with_trace(mut self, trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        self.trace_id = trace_id;
        self.span_id = span_id;
        self
    }

    /// With the time after which the caller no longer waits, in milliseconds from now.
    #[must_use]
    #[inline]
    pub const fn with_remaining_ms(mut self, remaining_ms: u64) -> Self {
        self.remaining_ms = remaining_ms;
        self
    }

    /// The id of the request, as the host's log names it.
    #[inline]
    pub const fn request_id(&self) -> [u8; 16] {
        self.request_id
    }

    /// The trace id and the caller's span id (W3C trace context); zeros if there is no trace.
    #[inline]
    pub const fn trace(&self) -> ([u8; 16], [u8; 8]) {
        (self.trace_id, self.span_id)
    }

    /// The time after which the caller no longer waits, in milliseconds from the call; `None` without a deadline.
    #[inline]
    pub const fn remaining_ms(&self) -> Option<u64> {
        if self.remaining_ms == u64::MAX { None } else { Some(self.remaining_ms) }
    }

    /// The flags that must be understood and are not.
    #[inline]
    pub const fn unknown_flags(&self) -> u64 {
        unknown_flags(self.flags)
    }
}

/// A request and the room for it to grow.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct Request<'a, T> {
    body: T,
    flags: u64,
    extension: RSlice<'a, u8>,
}

impl<T: Copy> Request<'_, T> {
    /// A request without flags.
    #[inline]
    pub const fn new(body: T) -> Self {
        Self { body, flags: 0, extension: RSlice::EMPTY }
    }

    /// With flags. The callee must understand those of the high half.
    #[must_use]
    #[inline]
    pub fn with_flags(mut self, flags: u64) -> Self {
        self.flags = flags;
        self
    }

    /// The flags that must be understood and are not.
    #[inline]
    pub const fn unknown_flags(&self) -> u64 {
        unknown_flags(self.flags)
    }

    /// What was asked.
    #[inline]
    pub const fn body(&self) -> T {
        self.body
    }
}

/// An answer and the room for it to grow.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct Answer<T> {
    body: T,
    flags: u64,
    extension: ROption<RBox<RVec<u8>>>,
}

impl<T> Answer<T> {
    /// An answer without flags.
    #[inline]
    pub const fn new(body: T) -> Self {
        Self { body, flags: 0, extension: ROption::RNone }
    }

    /// The flags that must be understood and are not.
    #[inline]
    pub const fn unknown_flags(&self) -> u64 {
        unknown_flags(self.flags)
    }

    /// What was answered.
    #[inline]
    pub fn into_body(self) -> T {
        self.body
    }

    /// The same answer with another body.
    #[inline]
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { body: convert(self.body), flags: self.flags, extension: self.extension }
    }
}

/// The reply to an operation: a result, or a future of one. A result that is there at once costs no allocation. A
/// closed set in major version 1.
///
/// The caller gives the place that a reply is written to: a record has 112 bytes, and each move of it costs a
/// call several nanoseconds.
#[repr(u8)]
#[derive(StableAbi)]
pub enum ForeignReply<T> {
    /// Not written yet: what a caller passes. No callee leaves it so.
    Unwritten,
    /// Done.
    Ready(Answer<T>),
    /// Failed.
    Failed(Error),
    /// Not done yet: a lock, a disk or a network is waited for.
    ///
    /// The future is `'static` and owns what it needs. Dropping it cancels the call and releases its
    /// resources; the effect may still happen.
    Pending(FfiFuture<RResult<Answer<T>, Error>>),
}

impl<T> From<Result<T, Error>> for ForeignReply<T> {
    #[inline]
    fn from(result: Result<T, Error>) -> Self {
        match result {
            Ok(body) => Self::Ready(Answer::new(body)),
            Err(error) => Self::Failed(error),
        }
    }
}
