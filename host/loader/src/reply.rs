//! The answer of a storage operation: there already, or a future of it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use keyway_abi::Error;

/// A result, perhaps still to come. A future in either case: an answer that is there costs no allocation and is
/// ready at the first poll.
///
/// Dropping it cancels the operation: the backend releases what the call holds; the effect may still happen, whole,
/// at most once.
#[must_use = "an operation that nobody waits for is cancelled"]
pub struct Reply<T>(Answer<T>);

enum Answer<T> {
    Ready(Option<Result<T, Error>>),
    Pending(Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'static>>),
}

impl<T> Reply<T> {
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
