//! A socket that another program listens at. A line counts as accepted when the operating system has taken
//! it. A listener that dies may not have read the last lines; the chain shows that.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    path::PathBuf,
};

use super::sink::{Sink, Started, WRITE};

/// A socket device.
pub(super) struct SocketSink {
    target: Address,
    open: Option<Box<dyn Stream>>,
}

/// The address of a listener.
pub(super) enum Address {
    Tcp(String),
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are none"))]
    Unix(PathBuf),
}

trait Stream: Read + Write + Send {
    /// From now on reading does not wait.
    fn set_reading(&self, waits: bool) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn set_reading(&self, waits: bool) -> io::Result<()> {
        self.set_nonblocking(!waits)
    }
}

#[cfg(unix)]
impl Stream for std::os::unix::net::UnixStream {
    fn set_reading(&self, waits: bool) -> io::Result<()> {
        self.set_nonblocking(!waits)
    }
}

impl SocketSink {
    pub(super) fn new(target: Address) -> Self {
        Self { target, open: None }
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match &self.target {
            Address::Tcp(address) => {
                let mut failure = io::Error::new(io::ErrorKind::NotFound, "the address stands for nothing");
                for address in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, WRITE) {
                        Ok(stream) => {
                            stream.set_write_timeout(Some(WRITE))?;
                            stream.set_nodelay(true)?;
                            return Ok(Box::new(stream));
                        }
                        Err(error) => failure = error,
                    }
                }
                Err(failure)
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
                let stream = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
                let stream = std::os::unix::net::UnixStream::from(stream);
                // A listener that does not accept is an error at once.
                stream.set_nonblocking(true)?;
                connect(&stream, &SocketAddrUnix::new(path)?)?;
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(WRITE))?;
                Ok(Box::new(stream))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether the listener has gone: then the operating system still takes lines, but no program reads them.
    fn is_gone(&mut self) -> bool {
        let Some(stream) = &mut self.open else { return true };
        let mut said = [0; 64];
        let read = stream.set_reading(false).and_then(|()| stream.read(&mut said));
        let is_open = match read {
            Ok(bytes) => bytes > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        !(is_open && stream.set_reading(true).is_ok())
    }
}

impl Sink for SocketSink {
    fn ready(&mut self) -> io::Result<Option<Started>> {
        if !self.is_gone() {
            return Ok(None);
        }
        self.open = None;
        self.open = Some(self.connect()?);
        // Its chain goes on if this server knows one.
        Ok(Some(Started { is_torn: Some(false), chain: None }))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stream = self.open.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.write(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "its reader does not read"),
            _ => error,
        })
    }

    fn failed(&mut self, error: &io::Error) -> bool {
        // A listener that does not read would take as much again from another connection, and read as little
        // of it. Such a connection begins with a separate line.
        let is_slow = error.kind() == io::ErrorKind::TimedOut;
        if !is_slow {
            self.close();
        }
        is_slow
    }

    fn close(&mut self) {
        self.open = None;
    }
}
