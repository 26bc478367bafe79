//! The mask of signals, which a process inherits from the one that has started it.
#![expect(unsafe_code, reason = "rustix leaves the mask to the C library")]

use std::{io, mem::MaybeUninit, ptr};

/// Lets all signals arrive at this thread, and at the threads that it starts.
///
/// # Errors
///
/// The operating system's.
pub(super) fn clear() -> io::Result<()> {
    let mut none = MaybeUninit::uninit();
    // SAFETY: sigemptyset(3) initialises the set that it is given, and pthread_sigmask(3) only reads it; a
    // null pointer says that the former mask is not wanted.
    let failed = unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut())
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(failed)) }
}
