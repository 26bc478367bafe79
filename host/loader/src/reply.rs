//! The reply to a storage operation: there already, or a future of it.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use abi_stable::std_types::{ROption, RResult, RString, RVec};
use async_ffi::{FfiFuture, FutureExt};
use keyway_abi::{
    AbiBytes, Answer, BackupChunk, BatchResult, Committed, Error, ErrorCode, ForeignReply, Health, Page,
    Record, Records, Version,
};

use crate::polls::{PollWatch, Separate};

/// A result, perhaps still to come. A future in either case: a reply that is there costs no allocation and is
/// ready at the first poll.
///
/// Dropping it cancels the operation: the backend releases what the call holds; the effect may still happen,
/// whole, at most once.
#[must_use = "dropping a reply cancels its operation"]
pub struct Reply<T: Answered>(State<T>);

/// As small as a result, because a reply is moved: into a future, and out of it.
enum State<T: Answered> {
    Ready(Result<T, Error>),
    Pending(Box<Pending<T>>),
    Taken,
}

struct Pending<T: Answered> {
    future: FfiFuture<RResult<Answer<T::Foreign>, Error>>,
    /// Whether it is polled on another thread.
    is_separate: bool,
    polls: PollWatch,
}

impl<T: Answered> Reply<T> {
    /// The reply that `call` writes. `polls` watches its future, if it is one.
    #[inline]
    pub(crate) fn of(polls: PollWatch, call: impl FnOnce(&mut ForeignReply<T::Foreign>)) -> Self {
        let mut foreign = ForeignReply::Unwritten;
        call(&mut foreign);
        Self(match foreign {
            ForeignReply::Ready(answer) => State::Ready(plain(answer, polls)),
            ForeignReply::Failed(error) => State::Ready(Err(error)),
            ForeignReply::Unwritten => State::Ready(Err(unwritten())),
            ForeignReply::Pending(future) => {
                State::Pending(Box::new(Pending { future, is_separate: false, polls }))
            }
        })
    }

    /// Whether the answer was there at once.
    pub fn is_ready(&self) -> bool {
        matches!(self.0, State::Ready(_))
    }
}

impl<T: Answered> Pending<T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        if !self.is_separate
            && let Some(threads) = self.polls.threads()
        {
            self.is_separate = true;
            let future = mem::replace(&mut self.future, std::future::pending().into_ffi());
            self.future = Separate::start(threads, self.polls, future).into_ffi();
        }
        let future = Pin::new(&mut self.future);
        let result = ready!(self.polls.timed(|| future.poll(context)));
        Poll::Ready(match result {
            RResult::ROk(answer) => plain(answer, self.polls),
            RResult::RErr(error) => Err(error),
        })
    }
}

/// What an operation answers, in plain Rust.
pub trait Answered: Sized {
    /// The same as it crosses the interface.
    #[doc(hidden)]
    type Foreign: Send + 'static;

    #[doc(hidden)]
    fn from_foreign(foreign: Self::Foreign, polls: PollWatch) -> Self;
}

macro_rules! as_they_cross {
    ($($answer:ty),* $(,)?) => {
        $(impl Answered for $answer {
            type Foreign = Self;

            #[inline]
            fn from_foreign(foreign: Self, _polls: PollWatch) -> Self {
                foreign
            }
        })*
    };
}

as_they_cross!(
    Records,
    Version,
    bool,
    Page,
    BatchResult,
    Health,
    u32,
    u64,
    AbiBytes,
    (),
    Committed,
    BackupChunk
);

impl Answered for Option<Record> {
    type Foreign = ROption<Record>;

    #[inline]
    fn from_foreign(foreign: ROption<Record>, _polls: PollWatch) -> Self {
        foreign.into_option()
    }
}

impl Answered for Vec<String> {
    type Foreign = RVec<RString>;

    fn from_foreign(foreign: RVec<RString>, _polls: PollWatch) -> Self {
        foreign.into_iter().map(String::from).collect()
    }
}

#[inline]
fn plain<T: Answered>(answer: Answer<T::Foreign>, polls: PollWatch) -> Result<T, Error> {
    let unknown = answer.unknown_flags();
    if unknown == 0 { Ok(T::from_foreign(answer.into_body(), polls)) } else { Err(not_understood(unknown)) }
}

#[cold]
fn not_understood(flags: u64) -> Error {
    let message = format!("the answer's flags {flags:#x} are not understood");
    Error::new(ErrorCode::UNSUPPORTED, message).with_unknown_outcome()
}

#[cold]
fn unwritten() -> Error {
    Error::new(ErrorCode::INTERNAL, "the library wrote no reply").with_unknown_outcome()
}

#[cold]
fn polled_again() -> Error {
    Error::new(ErrorCode::INTERNAL, "a reply was polled after it was done").with_unknown_outcome()
}

// The result is moved out, never pinned.
impl<T: Answered> Unpin for Reply<T> {}

impl<T: Answered> Future for Reply<T> {
    type Output = Result<T, Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::Pending(pending) = &mut self.0 {
            return pending.poll(context);
        }
        match mem::replace(&mut self.0, State::Taken) {
            State::Ready(result) => Poll::Ready(result),
            State::Pending(_) | State::Taken => Poll::Ready(Err(polled_again())),
        }
    }
}

impl<T: Answered> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_ready() { "Reply(ready)" } else { "Reply(pending)" })
    }
}
