//! Gives memory that large requests have freed back to the operating system. The C library keeps it otherwise, in an arena of each
//! thread that has computed.
#![expect(unsafe_code, reason = "the C library alone can give back what it has freed")]

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// How long after a large request: its answer is still being sent when it ends.
const DELAY: Duration = Duration::from_secs(1);

/// Trims the heap a little later, once for all requests that end until then.
pub(super) fn trim_soon() {
    static IS_DUE: AtomicBool = AtomicBool::new(false);
    if IS_DUE.swap(true, Ordering::Relaxed) {
        return;
    }
    tokio::spawn(async {
        tokio::time::sleep(DELAY).await;
        IS_DUE.store(false, Ordering::Relaxed);
        // It fails if the runtime ends, which gives back everything.
        let _ended = tokio::task::spawn_blocking(trim).await;
    });
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: malloc_trim(3) takes the locks of the arenas that it looks at, and touches only memory that no one has allocated.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give memory back by themselves, or have no call for it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
