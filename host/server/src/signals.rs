//! Signals that would end a process, and must not end a server: SIGHUP, which says that the configuration is to be read again,
//! before anybody listens for it; SIGUSR1 and SIGUSR2, which say nothing here; and SIGXFSZ, so that the limit on the size of
//! files is an error of the write.

#[cfg(unix)]
mod mask;

#[cfg(unix)]
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, Ordering},
};

/// Whether the configuration was to be read again before anybody listened.
#[cfg(unix)]
static HANGUP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on these signals do not end the process, and those that the process was started with blocked arrive. They are
/// handled, not ignored: a process that this one starts would inherit that, and a probe is to end by its limits.
///
/// To be called before there is a second thread, which would have a mask of its own.
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
