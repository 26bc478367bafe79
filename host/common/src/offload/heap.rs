//! How the C library keeps memory that large requests have freed.
#![expect(unsafe_code, reason = "the C library alone knows its heap")]

/// Maps each block of a mebibyte or more separately, so that the operating system gets it back when it is
/// freed. By default the C library raises this limit with each block that is freed, and keeps smaller ones in
/// an arena for each thread. Call this before other threads start. Returns whether the C library has accepted
/// it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn set_up() -> bool {
    const MAPPED_BYTES: libc::c_int = 1024 * 1024;
    // SAFETY: mallopt(3) only sets a parameter, and there is no other thread that could allocate meanwhile.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES) == 1 }
}

/// Other C libraries give memory back by themselves, or have no call for it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn set_up() -> bool {
    true
}
