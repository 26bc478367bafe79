//! Connections to the server: a pool of them, each with one request at a time.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use keyway_sdk::{Error, ErrorCode, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::network_protocol::{MAX_MESSAGE_BYTES, Request, Response};

/// The pool. Dropped, it closes its connections.
pub(crate) struct Client {
    address: String,
    time_limit: Duration,
    /// One for each connection that may be in use.
    permits: Semaphore,
    idle: Mutex<Vec<TcpStream>>,
}

impl Client {
    pub(crate) fn new(address: String, time_limit: Duration, most_connections: usize) -> Self {
        let permits = Semaphore::new(most_connections);
        Self { address, time_limit, permits, idle: Mutex::default() }
    }

    /// Asks, and waits for the answer. If the future is dropped, so is its connection: an answer that comes late meets no
    /// one.
    pub(crate) async fn ask(&self, request: Request) -> Result<Response> {
        let late = || {
            let message = format!("{} has not answered within {:?}", self.address, self.time_limit);
            Error::new(ErrorCode::TIMEOUT, message)
        };
        let frame = frame(&request)?;
        let connected = timeout(self.time_limit, self.connection()).await;
        let (connection, _permit) = connected.map_err(|_| late())??;
        // From here on, the server may do what it is asked, whatever becomes of the connection.
        let answered = timeout(self.time_limit, self.ask_on(connection, &frame)).await;
        answered.unwrap_or_else(|_| Err(late().with_unknown_outcome()))
    }

    /// A connection for one request, with its permit.
    async fn connection(&self) -> Result<(TcpStream, SemaphorePermit<'_>)> {
        let closed = |_| Error::new(ErrorCode::CLOSED, "the client is closed");
        let permit = self.permits.acquire().await.map_err(closed)?;
        while let Some(connection) = self.take_idle() {
            // The server may have closed it meanwhile.
            if is_open(&connection) {
                return Ok((connection, permit));
            }
        }
        let connection = TcpStream::connect(&self.address).await.map_err(|error| self.not_sent(error))?;
        connection.set_nodelay(true).map_err(|error| self.not_sent(error))?;
        Ok((connection, permit))
    }

    async fn ask_on(&self, mut connection: TcpStream, frame: &[u8]) -> Result<Response> {
        connection.write_all(frame).await?;
        let length = connection.read_u32_le().await? as usize;
        if length > MAX_MESSAGE_BYTES {
            return Err(self.nonsense(&format!("a message of {length} bytes")));
        }
        let mut message = vec![0; length];
        connection.read_exact(&mut message).await?;
        let response = postcard::from_bytes(&message).map_err(|error| self.nonsense(&error.to_string()))?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(response)
    }

    /// An answer that does not fit its request.
    pub(crate) fn unexpected(&self) -> Error {
        // Without the answer: it may hold a value.
        self.nonsense("an answer to another request")
    }

    fn take_idle(&self) -> Option<TcpStream> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn not_sent(&self, error: std::io::Error) -> Error {
        let message = format!("connect to {}: {error}", self.address);
        Error::new(ErrorCode::UNAVAILABLE, message).not_applied()
    }

    fn nonsense(&self, what: &str) -> Error {
        let message = format!("{} has answered with {what}", self.address);
        Error::new(ErrorCode::INTERNAL, message).with_unknown_outcome()
    }
}

/// Whether a connection without a request has nothing to read, not even its end.
fn is_open(connection: &TcpStream) -> bool {
    let nothing = connection.try_read(&mut [0]);
    nothing.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

fn frame(request: &Request) -> Result<Vec<u8>> {
    let message = postcard::to_allocvec(request)
        .map_err(|error| Error::new(ErrorCode::INTERNAL, format!("a request cannot be written: {error}")))?;
    let length = u32::try_from(message.len()).ok().filter(|length| *length as usize <= MAX_MESSAGE_BYTES);
    let length = length.ok_or_else(|| Error::new(ErrorCode::TOO_LARGE, "the request is too long"))?;
    Ok([&length.to_le_bytes()[..], &message].concat())
}
