//! The answer of a storage operation: there already, or a future of it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use abi_stable::std_types::RResult;
use keyway_abi::{Error, ErrorCode, ForeignReply, MaybeReady};

/// A result, perhaps still to come. A future in either case: an answer that is there costs no allocation and is
/// ready at the first poll.
///
/// Dropping it cancels the operation: the backend releases what the call holds; the effect may still happen,
/// whole, at most once.
#[must_use = "dropping a reply cancels its operation"]
pub struct Reply<T>(Answer<T>);

enum Answer<T> {
    Ready(Option<Result<T, Error>>),
    Pending(Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'static>>),
}

impl<T> Reply<T> {
    /// The reply of a call through the interface, with its result turned into plain Rust by `convert`.
    #[inline]
    pub(crate) fn of<U: 'static>(foreign: ForeignReply<U>, convert: fn(U) -> T) -> Self
    where
        T: 'static,
    {
        match foreign {
            MaybeReady::Ready(result) => Self::ready(plain(result, convert)),
            MaybeReady::Pending(future) => Self::pending(async move { plain(future.await, convert) }),
        }
    }

    /// An answer that is there.
    pub fn ready(result: Result<T, Error>) -> Self {
        Self(Answer::Ready(Some(result)))
    }

    /// An answer that is still to come.
    pub fn pending(future: impl Future<Output = Result<T, Error>> + Send + 'static) -> Self {
        Self(Answer::Pending(Box::pin(future)))
    }

    /// Whether the answer was there at once.
    pub fn is_ready(&self) -> bool {
        matches!(self.0, Answer::Ready(_))
    }
}

#[inline]
fn plain<T, U>(result: RResult<keyway_abi::Answer<T>, Error>, convert: fn(T) -> U) -> Result<U, Error> {
    match result {
        RResult::ROk(answer) if answer.unknown_flags() != 0 => {
            let message = format!("the answer's flags {:#x} are not understood", answer.unknown_flags());
            Err(Error::new(ErrorCode::UNSUPPORTED, message).with_unknown_outcome())
        }
        RResult::ROk(answer) => Ok(convert(answer.into_body())),
        RResult::RErr(error) => Err(error),
    }
}

// The result is moved out, never pinned.
impl<T> Unpin for Reply<T> {}

impl<T> Future for Reply<T> {
    type Output = Result<T, Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Answer::Ready(result) => {
                Poll::Ready(result.take().expect("a reply is not polled after it is done"))
            }
            Answer::Pending(future) => future.as_mut().poll(context),
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_ready() { "Reply(ready)" } else { "Reply(pending)" })
    }
}
