//! A stream that does not wait for ever: a client that reads nothing, or says nothing where it should speak,
//! is cut off.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// A stream with two bounds: on how long a write may make no progress, and on how long the client may send
/// nothing at all.
pub(super) struct Patient<S> {
    stream: S,
    write: Patience,
    read: Patience,
}

/// A time that begins when something waits, and ends when it goes on.
struct Patience {
    limit: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, waiting: None }
    }

    /// The result, or its end if it was waited for too long.
    fn bound<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
        what: &str,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(waiting.as_mut().poll(context));
        // Asked again, it says so again at once.
        waiting.as_mut().reset(Instant::now());
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the client {what} for {} s", limit.as_secs()),
        )))
    }
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, write: Duration, read: Duration) -> Self {
        Self { stream, write: Patience::new(write), read: Patience::new(read) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_read(context, buffer);
        this.read.bound(context, result, "sent nothing")
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.write.bound(context, result, "read nothing")
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_flush(context);
        this.write.bound(context, result, "read nothing")
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_shutdown(context);
        this.write.bound(context, result, "read nothing")
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.write.bound(context, result, "read nothing")
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn client_that_reads_nothing_is_cut_off_and_one_that_reads_slowly_is_not() {
        let (near, mut far) = duplex(16);
        let mut near = Patient::new(near, LONG, LONG);
        let mut piece = [0; 8];
        for _ in 0..5 {
            near.write_all(&[1; 8]).await.unwrap();
            tokio::time::sleep(LONG * 2).await;
            far.read_exact(&mut piece).await.unwrap();
        }
        let error = near.write_all(&[1; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_sends_nothing_is_cut_off() {
        let (near, mut far) = duplex(16);
        let mut near = Patient::new(near, LONG, LONG);
        let mut piece = [0; 1];
        far.write_all(b"x").await.unwrap();
        near.read_exact(&mut piece).await.unwrap();
        let error = near.read_exact(&mut piece).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
