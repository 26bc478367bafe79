//! Signals that would end a process, and must not end a server. SIGHUP asks for the configuration to be read
//! again, and may arrive before the server listens for it. SIGUSR1 and SIGUSR2 have no meaning here. A
//! handler for SIGXFSZ makes the limit on the size of files an error of the write.

#[cfg(unix)]
mod mask;

#[cfg(unix)]
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, Ordering},
};

/// Whether SIGHUP arrived before the server listened for it.
#[cfg(unix)]
static HANGUP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on these signals do not end the process, and signals that were blocked at its start arrive. They
/// are handled, not ignored: a child process would inherit that, and a probe must end by its limits.
///
/// Call it before there is a second thread, which would have its own mask.
///
/// # Errors
///
/// The operating system's.
#[cfg(unix)]
pub fn survive() -> std::io::Result<()> {
    use signal_hook::{
        consts::{SIGHUP, SIGUSR1, SIGUSR2, SIGXFSZ},
        flag,
    };
    flag::register(SIGHUP, Arc::clone(&HANGUP))?;
    for signal in [SIGUSR1, SIGUSR2, SIGXFSZ] {
        flag::register(signal, Arc::default())?;
    }
    mask::clear()
}

/// There are no such signals here.
///
/// # Errors
///
/// None.
#[cfg(not(unix))]
pub fn survive() -> std::io::Result<()> {
    Ok(())
}

/// Whether SIGHUP has come since this was asked last.
#[cfg(unix)]
pub(super) fn take_hangup() -> bool {
    HANGUP.swap(false, Ordering::Relaxed)
}
