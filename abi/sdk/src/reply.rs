//! What an operation answers with: a result, or a future of one.

use std::{future::Future, pin::Pin};

use crate::Result;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'static>>;

/// The answer of an operation.
///
/// An `async fn` is not used, because a future that was polled can no longer be moved out unboxed: an answer
/// that is there at once would pay for one that is not.
pub struct Reply<T>(pub(crate) Answered<T>);

pub(crate) enum Answered<T> {
    Ready(Result<T>),
    Pending(BoxFuture<T>),
}

impl<T> Reply<T> {
    /// The result is there. For work of at most 50 µs (p99) that waits for nothing.
    pub fn ready(result: Result<T>) -> Self {
        Self(Answered::Ready(result))
    }

    /// The result comes later. The future owns all that it needs; when it is dropped, the backend releases
    /// what the call holds (locks, connections, buffers) within a second.
    pub fn pending(future: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self(Answered::Pending(Box::pin(future)))
    }

    /// The result after `map`.
    pub fn map<U: 'static>(self, map: impl FnOnce(T) -> U + Send + 'static) -> Reply<U>
    where
        T: 'static,
    {
        match self.0 {
            Answered::Ready(result) => Reply::ready(result.map(map)),
            Answered::Pending(future) => Reply::pending(async move { future.await.map(map) }),
        }
    }

    /// The result, waited for.
    ///
    /// # Errors
    ///
    /// The error of the operation.
    pub async fn wait(self) -> Result<T> {
        match self.0 {
            Answered::Ready(result) => result,
            Answered::Pending(future) => future.await,
        }
    }
}

impl<T> From<Result<T>> for Reply<T> {
    fn from(result: Result<T>) -> Self {
        Self::ready(result)
    }
}
