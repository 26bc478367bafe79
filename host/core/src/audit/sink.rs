//! Where the lines of a device go.

use std::{io, time::Duration};

use super::chain::Chain;

/// How long a write may take: less than requests wait, so that they get the reason.
pub(super) const WRITE: Duration = Duration::from_millis(1_500);

/// Where lines go.
pub(super) trait Sink: Send {
    /// Opens it, if it is not open or no longer the one that it should be. Answers how it starts if it was
    /// opened.
    fn ready(&mut self) -> io::Result<Option<Started>>;
    /// Writes a part of these bytes, and says how many.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Takes note of a failure: unless the sink was only slow, it is opened again before the next line.
    /// Answers whether a piece of a line stays where it was written, so that the next line follows it.
    fn failed(&mut self, error: &io::Error) -> bool;
    /// Closes it.
    fn close(&mut self);
}

/// How a sink starts.
#[derive(Default)]
pub(super) struct Started {
    /// Where the chain ends that it holds already; none if it holds none.
    pub(super) chain: Option<Chain>,
    /// Whether what it holds ends without a newline; none if only the writer can know.
    pub(super) is_torn: Option<bool>,
}

/// Waits until a FIFO takes more, but not for ever.
#[cfg(unix)]
pub(super) fn wait_until_writable(file: &std::fs::File) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec::try_from(WRITE).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut polled = [PollFd::new(file, PollFlags::OUT)];
    if poll(&mut polled, Some(&timeout))? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "its reader does not read"));
    }
    Ok(())
}
